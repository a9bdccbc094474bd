"""Names and queries as words, written the same way on both sides."""

import re
import unicodedata

WORD = re.compile(r"\d+\.\d+|[A-Z0-9]+(?:&[A-Z0-9]+)*")
NOT_COMPACT = re.compile(r"[^A-Z0-9&]+")
SILENT = frozenset({"LTD", "LIMITED", "THE", "OF", "AND", "PVT", "LD"})
SHORTEST_CUT = 3

# Words of company names that dumps shorten in several ways; every form stands for the others.
SHORTENED = (
    ("INDUSTRIES", "IND", "INDS", "INDUSTRY", "INDU"),
    ("INTERNATIONAL", "INTL", "INTER", "INT"),
    ("CORPORATION", "CORP", "CORPN"),
    ("COMPANY", "CO"),
    ("ENGINEERING", "ENGG", "ENG"),
    ("ENGINEERS", "ENGRS"),
    ("MANUFACTURING", "MFG"),
    ("TECHNOLOGIES", "TECH", "TECHNOLOGY", "TECHNO"),
    ("FINANCE", "FIN", "FINANCIAL", "FINSERV"),
    ("SERVICES", "SERV", "SERVICE", "SER", "SRV", "SERVS"),
    ("INFRASTRUCTURE", "INFRA", "INFRAST"),
    ("PHARMACEUTICALS", "PHARMA", "PHARM", "PHARMACEUTICAL", "PHAR"),
    ("LABORATORIES", "LABS", "LAB", "LABORATORIE"),
    ("CHEMICALS", "CHEM", "CHEMICAL"),
    ("FERTILISERS", "FERTILIZERS", "FERT"),
    ("PETROLEUM", "PETRO", "PET"),
    ("INVESTMENTS", "INVEST", "INVESTMENT", "INV", "INVT"),
    ("HOLDINGS", "HLDG", "HOLDING", "HLDGS"),
    ("DEVELOPMENT", "DEV", "DEVELOPERS", "DEVL", "DEVP"),
    ("PRODUCTS", "PROD", "PRODUCT"),
    ("HOUSING", "HSG", "HOUS"),
    ("INSURANCE", "INS", "INSU", "INSUR"),
    ("COMMUNICATIONS", "COMM", "COMMUNICATION", "COM", "COMMN"),
    ("ELECTRICALS", "ELEC", "ELECT", "ELECTRIC", "ELECTRICAL", "ELECTRONICS"),
    ("HINDUSTAN", "HIND"),
    ("INDIA", "IND", "INDIAN"),
    ("BANK", "BNK", "BK"),
    ("CONSUMER", "CONS", "CONSUM", "CONSR"),
    ("CONSULTANCY", "CONSULTANC", "CONSULT"),
    ("PASSENGER", "PASS"),
    ("VEHICLES", "VEH", "VEHICLE"),
    ("COMMERCIAL", "COMM", "COMML"),
    ("SMALLCAP", "SMLCAP", "SML"),
    ("MIDCAP", "MID"),
    ("MIDSMALL", "MIDSML", "MS"),
    ("QUALITY", "QLTY", "QUALTY"),
    ("MOMENTUM", "MOMENTM", "MOMNTM"),
    ("DURABLES", "DURBL", "DURABLE"),
    ("PRIVATE", "PVT"),
    ("HEALTHCARE", "HEALTH", "HLTH"),
    ("EQUAL", "EQL", "EQ"),
    ("WEIGHT", "WGT"),
    ("MARKET", "MKT", "MARKETS", "MKTS"),
    ("DIVIDEND", "DIV", "DVND"),
    ("TELECOM", "TELCM", "TELECOMMUNICATION", "TELCOM"),
    ("CONSUMPTION", "CONSUMP", "CONSUMPT"),
    ("DIAMONDS", "DIAMOND"),
    ("ENTERPRISES", "ENT", "ENTERPRISE", "ENTP"),
    ("MOTORS", "MOTOR", "MOT"),
    ("TRUST", "TRST", "TST", "TRU"),
)  # fmt: skip
SAME: dict[str, tuple[str, ...]] = {}
for _forms in SHORTENED:
    for _form in _forms:
        SAME[_form] = tuple(dict.fromkeys((*SAME.get(_form, ()), *(other for other in _forms if other != _form))))


def upper(text: str) -> str:
    """A text in the one case and width everything is compared in, without accents and foreign figures."""
    if text.isascii():
        return text.upper()
    plain = (
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(character)
    )
    return "".join(plain).upper()


def compact(text: str) -> str:
    """An upper-case text without spaces and punctuation; the ampersand stays, it tells M&M from MM."""
    return text if text.isascii() and text.isalnum() else NOT_COMPACT.sub("", text)


def words_of(text: str) -> list[str]:
    """The words of an upper-case name, without the silent ones; initials standing alone are joined."""
    found: list[str] = []
    initials = False
    words = WORD.findall(text.replace("'", ""))
    for position, word in enumerate(words):
        if word in SILENT or (position == len(words) - 1 and position and _cut_short(word)):
            initials = False
            continue
        single = len(word) == 1 and word.isalpha()
        if single and initials:
            found[-1] += word
        else:
            found.append(word)
        initials = single
    return found or words


def _cut_short(word: str) -> bool:
    return len(word) >= SHORTEST_CUT - 1 and "LIMITED".startswith(word)
