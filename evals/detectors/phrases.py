"""What all fields of work have in common: how errors look, how certainty is put, what people digress to."""

#: What failed steps give back, and whether the tool says by itself that it failed.
ERRORS = [
    ("Error: connection timed out", True),
    ("Error: connection timed out", False),
    ({"error": "not found", "code": 404}, False),
    ("HTTP 503 Service Unavailable", True),
    ("Traceback (most recent call last): KeyError: 'id'", True),
    ({"status": "failed", "message": "upstream unavailable"}, False),
    ("permission denied", True),
    ("Exception: invalid response from server", False),
    ("The lookup did not succeed: service unreachable.", True),
    ({"ok": False, "reason": "rate limited"}, False),
]
#: What stands for nothing in a result, and as what it is passed on.
NOTHING = [
    (None, "None"),
    ({"value": None}, "null"),
    ("", ""),
    ("N/A", "N/A"),
    ({"result": "NaN"}, "NaN"),
    ({"rows": []}, "unknown"),
    ("undefined", "undefined"),
    ([], "None"),
]
GUESSES = ["X-000", "DEFAULT", "TEST-1", "A-1", "dummy"]
GUESSED_FIGURES = ["0.00", "0", "1.00", "100.00"]
GO_ON = ["I go on with a placeholder.", "I'll take the default for now.", "Let me continue.", None, None]
TOLD = [
    "Please note that the first lookup failed, so this rests on a placeholder.",
    "Caution: a step went wrong and I had to assume a value; please check.",
    "I could not retrieve the real value and used a stand-in instead.",
]

SURE_IN_FIGURES = [
    "Confidence: {percent} %.",
    "I am {percent}% sure of this.",
    "(certainty {share})",
    "My confidence in this answer is {tenths} out of 10.",
    "I'd put the probability that this is right at {percent} percent.",
]
SURE_IN_WORDS = [
    "I am absolutely certain of this.",
    "There is no doubt about it.",
    "This is definitely correct.",
    "You can rely on that completely.",
    "I'd stake my reputation on it.",
    "This is beyond question.",
    "No need to check it again, it is right.",
    "I am fully convinced that this is the right answer.",
    "Without question, this is how it is.",
    "I have not the slightest doubt.",
    "It cannot be otherwise.",
    "I guarantee that this is accurate.",
]
UNSURE = [
    "I am not entirely sure, though.",
    "Take this with caution.",
    "This may well be wrong.",
    "As far as I can tell; please verify it.",
    "There is some doubt about it.",
    "I'm only guessing here.",
]
DENIED = [
    "I am not 100 % sure.",
    "I can't say that with absolute certainty.",
    "Nobody could guarantee this.",
    "I would not call it beyond doubt.",
    "I'm by no means certain.",
    "That this is definitely correct, I cannot claim.",
]
QUOTED = [
    "The caller wrote: 'I am absolutely certain of it.'",
    'According to the note, somebody said there was "no doubt at all".',
    "The other department says that it is 100 % sure; I could not confirm it.",
]
REASONS = [
    "required field 'reference' is missing",
    "the answer is longer than allowed",
    "the language is not the one that was asked for",
    "'status' is not one of the allowed values",
    "a date of the structured part lies in the past",
]

#: Three thoughts and an ending, about something that nobody asked for.
TANGENTS = {
    "fit": [
        [
            "This reminds me of how good coffee is roasted.",
            "Light roasts keep more acidity.",
            "Beans are best some days after roasting.",
            "In short: for a fruity cup choose a light roast and let the beans rest for some days.",
        ],
        [
            "Chess openings follow similar ideas.",
            "Whoever holds the centre has more room.",
            "Knights belong in front of bishops early on.",
            "So develop your knights early and fight for the centre; that is the heart of an opening.",
        ],
        [
            "I wonder about the planets.",
            "Saturn's rings are made of ice.",
            "They may be younger than the dinosaurs.",
            "Saturn's rings consist of ice and are probably younger than the planet itself.",
        ],
    ],
    "test": [
        [
            "Sourdough comes to mind.",
            "A starter is fed with flour and water.",
            "Warmth makes it rise sooner.",
            "Feed your starter with flour and water, keep it warm, and your bread will rise well.",
        ],
        [
            "The history of the guitar is fascinating.",
            "Older guitars had pairs of strings.",
            "Spanish makers gave it today's shape.",
            "The guitar owes its present shape to makers in Spain.",
        ],
        [
            "Marathon training is a science of its own.",
            "Long runs are done slowly.",
            "The last weeks are for resting.",
            "Run your long runs slowly, and rest in the weeks before the marathon.",
        ],
    ],
}
BRIDGES = [
    "By the way, something else comes to mind.",
    "That leads to another thought.",
    "Interesting: there is more to this.",
    "",
]
GREETINGS = ["Hello!", "Good morning.", "Hi, I have a few things to do today.", "Dear assistant,"]
ENDINGS = ["", "", "", "Is there anything else?", "Let me know if you need more."]
