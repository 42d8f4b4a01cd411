"""A small pronouncing lexicon of our own: common words with ARPAbet phones, rich in bilabials, and sentence templates.

Digits after vowels are stress: 1 primary, 2 secondary, 0 none. A template is a line of words and ``{categories}``.
"""

from dataclasses import dataclass

PRONUNCIATIONS = """
a AH0|about AH0 B AW1 T|after AE1 F T ER0|again AH0 G EH1 N|all AO1 L|always AO1 L W EY0 Z|am AE1 M|an AE0 N|and AH0 N D
are AA1 R|at AE0 T|away AH0 W EY1|because B IH0 K AO1 Z|been B IH1 N|before B IH0 F AO1 R|but B AH0 T|by B AY1|can K AE1 N
come K AH1 M|could K UH1 D|did D IH1 D|do D UW1|for F ER0|from F R AH0 M|go G OW1|good G UH1 D|had HH AE1 D|has HH AE1 Z
have HH AE1 V|he HH IY1|her HH ER1|how HH AW1|i AY1|if IH0 F|in IH0 N|is IH0 Z|it IH0 T|just JH AH1 S T|know N OW1
let L EH1 T|like L AY1 K|make M EY1 K|maybe M EY1 B IY0|me M IY1|more M AO1 R|my M AY1|never N EH1 V ER0|no N OW1|not N AA1 T
now N AW1|of AH0 V|on AA1 N|or ER0|our AW1 ER0|people P IY1 P AH0 L|put P UH1 T|really R IH1 L IY0|said S EH1 D|say S EY1
see S IY1|she SH IY1|should SH UH1 D|so S OW1|some S AH1 M|that DH AE1 T|the DH AH0|them DH EH1 M|then DH EH1 N|there DH EH1 R
they DH EY1|think TH IH1 NG K|this DH IH1 S|to T AH0|too T UW1|up AH1 P|us AH1 S|very V EH1 R IY0|was W AH0 Z|we W IY1
well W EH1 L|were W ER1|what W AH1 T|when W EH1 N|where W EH1 R|which W IH1 CH|who HH UW1|why W AY1|will W IH1 L|with W IH0 DH
would W UH1 D|you Y UW1|your Y AO1 R
apple AE1 P AH0 L|baby B EY1 B IY0|beach B IY1 CH|boat B OW1 T|book B UH1 K|bottle B AA1 T AH0 L|bread B R EH1 D|bus B AH1 S
butter B AH1 T ER0|camera K AE1 M R AH0|chair CH EH1 R|cheese CH IY1 Z|church CH ER1 CH|coffee K AA1 F IY0
computer K AH0 M P Y UW1 T ER0
cup K AH1 P|dog D AO1 G|door D AO1 R|farm F AA1 R M|film F IH1 L M|fish F IH1 SH|garage G ER0 AA1 ZH|game G EY1 M|garden G AA1 R D AH0 N
house HH AW1 S|idea AY0 D IY1 AH0|job JH AA1 B|lamp L AE1 M P|letter L EH1 T ER0|map M AE1 P|market M AA1 R K AH0 T|measure M EH1 ZH ER0
meeting M IY1 T IH0 NG|money M AH1 N IY0|moon M UW1 N|movie M UW1 V IY0|music M Y UW1 Z IH0 K|number N AH1 M B ER0|office AO1 F AH0 S
oil OY1 L|paper P EY1 P ER0|park P AA1 R K|party P AA1 R T IY0|phone F OW1 N|picture P IH1 K CH ER0|place P L EY1 S|plan P L AE1 N
pool P UW1 L|problem P R AA1 B L AH0 M|question K W EH1 S CH AH0 N|room R UW1 M|school S K UW1 L|shop SH AA1 P|soup S UW1 P
story S T AO1 R IY0|summer S AH1 M ER0|table T EY1 B AH0 L|television T EH1 L AH0 V IH2 ZH AH0 N|town T AW1 N|toy T OY1|train T R EY1 N
treasure T R EH1 ZH ER0|trip T R IH1 P|umbrella AH0 M B R EH1 L AH0|village V IH1 L IH0 JH|voice V OY1 S|water W AO1 T ER0
weather W EH1 DH ER0|window W IH1 N D OW0|zoo Z UW1
boss B AO1 S|boy B OY1|brother B R AH1 DH ER0|doctor D AA1 K T ER0|father F AA1 DH ER0|friend F R EH1 N D|girl G ER1 L|man M AE1 N
mother M AH1 DH ER0|neighbour N EY1 B ER0|sister S IH1 S T ER0|teacher T IY1 CH ER0|uncle AH1 NG K AH0 L|woman W UH1 M AH0 N
bad B AE1 D|beautiful B Y UW1 T AH0 F AH0 L|better B EH1 T ER0|big B IH1 G|blue B L UW1|brown B R AW1 N|cheap CH IY1 P|cold K OW1 L D
empty EH1 M P T IY0|famous F EY1 M AH0 S|full F UH1 L|happy HH AE1 P IY0|hot HH AA1 T|huge HH Y UW1 JH|important IH0 M P AO1 R T AH0 N T
lovely L AH1 V L IY0|loud L AW1 D|old OW1 L D|perfect P ER1 F IH0 K T|possible P AA1 S AH0 B AH0 L|quiet K W AY1 AH0 T
simple S IH1 M P AH0 L
small S M AO1 L|strange S T R EY1 N JH|warm W AO1 R M|wonderful W AH1 N D ER0 F AH0 L|young Y AH1 NG|yellow Y EH1 L OW0
bought B AO1 T|broke B R OW1 K|brought B R AO1 T|built B IH1 L T|changed CH EY1 N JH D|enjoyed EH0 N JH OY1 D|forgot F ER0 G AA1 T
found F AW1 N D|gave G EY1 V|heard HH ER1 D|kept K EH1 P T|left L EH1 F T|liked L AY1 K T|lost L AO1 S T|loved L AH1 V D|made M EY1 D
missed M IH1 S T|moved M UW1 V D|needed N IY1 D AH0 D|opened OW1 P AH0 N D|painted P EY1 N T AH0 D|remembered R IH0 M EH1 M B ER0 D
saw S AO1|showed SH OW1 D|sold S OW1 L D|stopped S T AA1 P T|took T UH1 K|used Y UW1 Z D|wanted W AA1 N T AH0 D|watched W AA1 CH T
bring B R IH1 NG|build B IH1 L D|buy B AY1|call K AO1 L|choose CH UW1 Z|find F AY1 N D|help HH EH1 L P|keep K IY1 P|leave L IY1 V
love L AH1 V
meet M IY1 T|move M UW1 V|open OW1 P AH0 N|play P L EY1|remember R IH0 M EH1 M B ER0|show SH OW1|stop S T AA1 P|take T EY1 K|try T R AY1
use Y UW1 Z|visit V IH1 Z IH0 T|want W AA1 N T|watch W AA1 CH|hope HH OW1 P|believe B IH0 L IY1 V|suppose S AH0 P OW1 Z|mean M IY1 N
tomorrow T AH0 M AA1 R OW0|today T AH0 D EY1|yesterday Y EH1 S T ER0 D EY2|sometimes S AH1 M T AY2 M Z|tonight T AH0 N AY1 T
early ER1 L IY0|together T AH0 G EH1 DH ER0|probably P R AA1 B AH0 B L IY0|usually Y UW1 ZH AH0 L IY0|home HH OW1 M|time T AY1 M
morning M AO1 R N IH0 NG|monday M AH1 N D EY0|september S EH0 P T EH1 M B ER0|five F AY1 V|seven S EH1 V AH0 N|much M AH1 CH
month M AH1 N TH
both B OW1 TH|thing TH IH1 NG|something S AH1 M TH IH0 NG|ago AH0 G OW1|world W ER1 L D|three TH R IY1
mm-hm M HH M|uh-huh AH0 HH AH1|yeah Y AE1 AH0|yes Y EH1 S|right R AY1 T|okay OW2 K EY1|wow W AW1|oh OW1|sure SH UH1 R
exactly IH0 G Z AE1 K T L IY0
true T R UW1|hmm HH M|months M AH1 N TH S|whole HH OW1 L|example IH0 G Z AE1 M P AH0 L|told T OW1 L D|came K EY1 M
pictures P IH1 K CH ER0 Z
"""

CATEGORIES = {
    "noun": """apple baby beach boat book bottle bread bus butter camera chair cheese church coffee computer cup dog door farm film fish
        garage game garden house idea job lamp letter map market meeting money movie music number office oil paper park party phone
        picture place plan pool problem question room school shop soup story table television town toy train treasure trip umbrella
        village voice water window zoo""",
    "person": "boss boy brother doctor father friend girl man mother neighbour sister teacher uncle woman baby",
    "adjective": """bad beautiful better big blue brown cheap cold empty famous full happy hot huge important lovely loud old perfect
        possible quiet simple small strange warm wonderful young yellow""",
    "did": """bought broke brought built changed enjoyed forgot found gave heard kept left liked lost loved made missed moved needed
        opened painted remembered saw showed sold stopped took used wanted watched""",
    "verb": "bring build buy call choose find help keep leave love meet move open play remember show stop take try use visit want watch",
    "when": "tomorrow today yesterday sometimes tonight early together probably usually again now",
    "believe": "think know hope believe suppose mean",
}
CATEGORIES = {name: tuple(words.split()) for name, words in CATEGORIES.items()}

STATEMENTS = """
i {believe} the {noun} is {adjective}|we {did} the {adjective} {noun} {when}|my {person} {did} a {noun} in {name}
the {person} from {name} {did} my {noun}|you should {verb} the {noun} before {when}|it was a very {adjective} {noun}
i would like to {verb} some {noun} with {name}|the {noun} by the {noun} was {adjective} and {adjective}|maybe we can {verb} it {when}
they never told me about the {noun}|people {verb} the {noun} because it is {adjective}
there were three {adjective} pictures on the table
{name} is my {adjective} {person}|this morning i {did} both of them|that problem is probably too big for me
my mother and my brother were there {when}
the moon was beautiful in september|we will {verb} {name} at the {noun} on monday
i usually {verb} something {adjective} after the meeting
just put the {noun} up on the {noun}|the whole thing was {adjective} but not {adjective}|my {person} always said {name} was {adjective}
"""
QUESTIONS = """
did you {verb} the {adjective} {noun}|what would you {verb} {when}|have you been to {name} before|how was the {noun}
where is your {noun} now
why should we {verb} the {noun}|do you {believe} the {person} will {verb} it|would your {person} {verb} {name}
can we meet {when} at the {noun}
which {noun} is more {adjective}|who {did} the {noun} in {name}|could you help me with the {noun}
"""
CONTINUATIONS = """
well i {believe} so|so when i was in {name}|and then my {person} came home|if you {verb} the {noun}
you know the {adjective} {noun} i mean
but before we {verb} it|for example the {noun}|because of the {adjective} weather|about five months ago|maybe not {when}
"""
ANSWERS = "yeah|yes|no|well yes|oh really|maybe|right|sure|yes probably|no not really|okay|exactly"
BACKCHANNELS = "mm-hm|yeah|right|uh-huh|okay|oh really|wow|mm-hm|hmm|yes|sure|true|mm-hm"


def lines(templates: str) -> tuple[str, ...]:
    return tuple(line.strip() for row in templates.strip().splitlines() for line in row.split("|") if line.strip())


@dataclass(frozen=True)
class Word:
    """A word as spoken: ARPAbet phones without digits, and beside each its stress (1 primary, 0.5 secondary, 0 none)."""

    text: str
    phones: tuple[str, ...]
    stresses: tuple[float, ...]


def word_from_arpabet(text: str, arpabet: str) -> Word:
    """``word_from_arpabet("map", "M AE1 P")``"""
    symbols = arpabet.split()
    weight = {"1": 1.0, "2": 0.5, "0": 0.0}
    phones = tuple(s.rstrip("012") for s in symbols)
    stresses = tuple(weight.get(s[-1], 0.0) for s in symbols)
    return Word(text, phones, stresses)


LEXICON = {text: word_from_arpabet(text, arpabet) for text, _, arpabet in (entry.partition(" ") for entry in lines(PRONUNCIATIONS))}
