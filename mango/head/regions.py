"""Named parts of a head's surface. The built-in head has all of them; a FLAME file brings none."""

REGIONS = {
    "face": "front of the skin, ear to ear, hairline to chin, without the mouth's inside",
    "upper_face": "face above the tip of the nose: brows, eyes, forehead, upper cheeks",
    "lower_face": "face below: mouth, chin, lower cheeks",
    "lips": "from the vermilion border to where the lips meet",
    "inner_lips": "where the lips meet",
    "brows": "skin under the eyebrows",
    "eyelids": "skin that a blink moves",
    "eyes": "both eyeballs",
    "left_eye": "the person's left eyeball",
    "right_eye": "the person's right eyeball",
    "teeth": "both rows, gums included",
    "upper_teeth": "fixed to the skull",
    "lower_teeth": "fixed to the jaw",
    "tongue": "fixed to the jaw, moved by tongueOut",
    "mouth_cavity": "inside of the mouth behind the lips; to be drawn dark",
    "scalp": "where hair grows",
    "neck": "below the jaw, down to the cut",
    "skin": "everything outside but eyeballs, teeth and tongue",
}
