"""Sample sentences of the people of a company: a workshop for weather instruments."""

# ruff: noqa: RUF001 - letters that look alike are the point of writing in many languages

import random

NAMES = (
    "Ada Lindqvist", "Tomás Herrera", "Nkechi Okafor", "Søren Bak", "藤本 遥", "Leïla Benali", "Piotr Wójcik",
    "Maya Castellanos", "דניאל פרץ", "Ritu Ghosh", "Eoin Gallagher", "陈思远", "Zeynep Aydın", "Hannah Vogt",
    "Kwame Mensah", "سارة الخطيب",
)  # fmt: skip
TEAMS = {
    "Workshop": ("General", "Barometers", "Firmware"),
    "Expeditions": ("General", "Packing list", "Field notes 🏔️"),
    "Harbour Office": ("General", "Deliveries"),
    "Kitchen Table": ("General", "Bread club", "観察日記"),
}
CHAT_TOPICS = ("Lighthouse visit", "Spare parts", "Friday soup 🍲", "Rain gauge v3", "週末ハイキング")

OPENERS = (
    "Good news:", "Morning all,", "Quick one —", "For the record:", "Thinking aloud:", "Small update:",
    "Before I forget,",
    "If anyone is near the bench:", "Heads up,", "A happy accident:", "From the roof:", "Between two showers:",
)  # fmt: skip
SUBJECTS = (
    "the brass aneroid", "our little anemometer", "the new rain gauge", "the weather vane from Bergen",
    "batch forty-two",
    "the barograph with the green drum", "the sensor mast", "the tide clock", "the snow stake",
    "the sunshine recorder",
    "the humidity capsule", "the harbour display", "the loan kit for the school",
    "the prototype with three cups",
)  # fmt: skip
PREDICATES = (
    "reads two hectopascal high and nobody knows why", "survived the night on the balcony",
    "is back from calibration",
    "hums in B flat when the wind turns west", "needs a longer cable and a kinder screwdriver",
    "passed every test today",
    "was admired by a seagull for twenty minutes", "goes out with the noon van",
    "has a new home above the coffee machine",
    "drifted by less than a tenth over a week", "is waiting for its glass", "finally agrees with the airport",
    "came with a handwritten letter from a lighthouse keeper", "wants a firmware update and a clean lens",
    "stays with us one more week", "turned out lighter than planned",
)  # fmt: skip
CLOSERS = (
    "Photos tomorrow.", "Who has ten minutes after lunch?", "I put the numbers in the notebook.",
    "Shall we call it done?",
    "Tea is on the stove. ☕", "Thank you for staying late yesterday.",
    "Let us try again when the fog lifts. 🌫️",
    "No hurry, Thursday is fine.", "It made my day. 🌤️", "Suggestions welcome!",
    "I will bring cinnamon rolls. 🥐",
    "The drawing is on the wall next to the window.", "Please count the screws before you close the lid. 🔩",
    "",
)  # fmt: skip
ELSEWHERE = (
    "霧が晴れたら、もう一度屋上で測ってみましょう。", "气压计今天很稳定，明天可以寄出了。👍",
    "المطر بدأ أخيرًا، والمقياس يعمل بشكل رائع 🌧️",
    "הרוח נרגעה, אפשר לעלות לגג לפני הצהריים", "Der Windmesser dreht sich wieder, das Lager war nur trocken.",
    "La girouette est réparée ; elle montre enfin le nord. 🧭", "Дождемер пережил первую зиму, ура! ❄️",
    "आज बादल सुंदर हैं — कैमरा छत पर रख दिया है।", "¿Quién se lleva el barómetro pequeño al faro? 🗼",
    "파도가 높아서 배달은 내일로 미룹니다.", "ลมแรงมากวันนี้ ระวังเสาด้วยนะ 🙏",
    "Η βάρκα φεύγει στις επτά, μην αργήσετε ⛵",
    "👩🏽‍🔧🔧➡️🌡️ = ✅", "Ça marche — 3 × 8,5 mm ≈ 25,5 mm & <presque> sec “comme prévu”",
)  # fmt: skip
REPLIES = (
    "Agreed, let us do that.", "Lovely! 😍", "I can take it down to the harbour at four.",
    "Hm, have you checked the gasket?",
    "Same here last winter; a drop of oil helped.", "Yes please.", "Ha! Only the seagull knows. 🐦",
    "Count me in. 🙋",
    "Could you add the reading from the old mercury column?", "了解です、ありがとう！",
    "Noted in the log, page 114.",
    "I would wait one more night.", "Na klar, mache ich.", "شكرًا جزيلًا 🙏", "That explains the puddle. 😅",
)  # fmt: skip
REACTIONS = ("like", "heart", "laugh", "surprised", "👏", "🌦️", "🎉", "🙏🏽")
ADDENDA = (
    "(Edit: on Thursday, not Tuesday.)", "(Edit: the second one, with the green drum.)",
    "(Edited for the missing number: 1013.2 hPa.)",
    "Update: solved, it was the battery. 🔋", "— and thanks to whoever left the good screwdriver!",
)  # fmt: skip


def sentence(chance: random.Random) -> str:
    """Return a remark of one or two sentences, occasionally in another language."""
    if chance.random() < 0.15:
        return chance.choice(ELSEWHERE)
    remark = f"{chance.choice(OPENERS)} {chance.choice(SUBJECTS)} {chance.choice(PREDICATES)}. {chance.choice(CLOSERS)}"
    return remark.strip()


def reply(chance: random.Random) -> str:
    """Return a reply to a remark."""
    return chance.choice(REPLIES) if chance.random() < 0.7 else sentence(chance)


def report(chance: random.Random, size: int) -> str:
    """Return a text of at least `size` characters in paragraphs."""
    paragraphs: list[str] = []
    length = 0
    while length < size:
        paragraph = " ".join(sentence(chance) for _ in range(6))
        paragraphs.append(paragraph)
        length += len(paragraph) + 1
    return "\n".join(paragraphs)
