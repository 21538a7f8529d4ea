"""Japanese: no gender or number; counters, particles, and relations before their place."""

from towers.data.scenes.meanings import Group
from towers.data.scenes.speech import Language, chosen

NOUNS = {
    "circle": "円/丸",
    "square": "四角形/四角",
    "triangle": "三角形/三角",
    "star": "星",
    "heart": "ハート",
    "cross": "十字",
    "ring": "輪/リング",
    "moon": "三日月/月",
    "diamond": "ひし形",
    "drop": "しずく",
    "arrow": "矢印",
    "flower": "花",
    None: "図形",
}
ADJECTIVES = {
    "red": "赤い",
    "orange": "オレンジ色の",
    "yellow": "黄色い",
    "green": "緑色の/緑の",
    "blue": "青い",
    "purple": "紫色の/紫の",
    "pink": "ピンク色の/ピンクの",
    "black": "黒い",
    "small": "小さい/小さな",
    "large": "大きい/大きな",
}
NUMBERS = ("", "一つの", "二つの", "三つの", "四つの")


def phrase(group: Group, case: str, words: int) -> str:
    """A noun phrase.

    Args:
        group: what is meant.
        case: "" with a number where there are several; "number": with one also for one.
        words: chooses among near-synonyms.
    """
    number = NUMBERS[group.number] if group.number > 1 or case == "number" else ""
    adjectives = [chosen(ADJECTIVES[word], words) for word in group[3:1:-1] if word]
    return number + "".join(adjectives) + chosen(NOUNS[group.shape], words // 2)


JAPANESE = Language(
    phrase=phrase,
    description=("{list}", "{list}の絵", "{list}がある", "{list}があります"),
    place=("{list}がある", "{list}があります"),
    placed="{where}に{thing}",
    relation=("{first}は{others}にある", "{first}が{others}にあります"),
    count=("{total:number}：{list:number}", "全部で{total:number}：{list:number}"),
    negation=(
        "{list}があるが、{absent}はない", "{list}はありますが、{absent}はありません",
        "{absent}がなく、{list}がある",
    ),
    related={
        "left": ("{thing}の左", "{thing}の左側"),
        "right": ("{thing}の右", "{thing}の右側"),
        "above": ("{thing}の上", "{thing}より上"),
        "below": ("{thing}の下", "{thing}より下"),
    },
    places=(
        "左上", "中央上", "右上",
        "中央左", "真ん中", "中央右",
        "左下", "中央下", "右下",
    ),
    comma="と",
    last="と",
    link="、",
)  # fmt: skip
