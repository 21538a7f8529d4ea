"""Texts that are hard to set, for several tests."""

from hypothesis import strategies as st

HARD = [
    "",
    " ",
    "A photo of a cat.",
    "MiXeD Case ÄÖÜ",
    "W" * 60,
    "日本語テキスト " * 20,
    "e\u0301 \u0300\u0488 a\u20dd",  # marks that combine
    "שלום עולם مرحبا بالعالم",  # from right to left
    "\ud800 \udfff",  # lone surrogates
    "\ue000\U0010ffff\u0378",  # private, no character, not assigned
    "😀🚀𓀀 \U0001f1e9\U0001f1ea",
    "\x00\t\n\r\x7f\u200b\u2028\ufeff",
    " ".join(["word"] * 200),
    "l" * 2000,
    "@AZ[`az{",  # the edges of what becomes lower case
    "." * 800,  # so narrow that 769 would fit
]

any_text = st.text(
    st.one_of(
        st.characters(),
        st.characters(max_codepoint=0x2FF),
        st.characters(categories=["Cs", "Mn", "Mc", "Cn"]),
        st.sampled_from(" Wl日"),
    ),
    max_size=60,
)
