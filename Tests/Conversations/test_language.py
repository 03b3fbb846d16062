"""The language of the plays itself: a pattern that matches everything would make every scene pass."""

import pytest
from support import match, play

KNOWN = {"romeo": "romeo@martlet.example", "odd": "a<b>'&\""}

HOLDS = [
    ("<message to='{romeo}'/>", "<message to='romeo@martlet.example'/>"),
    ("<message a='1' b='2'/>", "<message b='2' a='1'/>"),
    ("<message id='{any}'/>", "<message id='x1'/>"),
    ("<message id='x{any}'/>", "<message id='x1'/>"),
    ("<message id='{one|two.}'/>", "<message id='two.'/>"),
    ("<message {more}/>", "<message id='x1'/>"),
    ("<message>{more}</message>", "<message><body>x</body></message>"),
    ("<message><a/><b/></message>", "<message><b/><a/></message>"),
    ("<message><a/>{more}</message>", "<message><b/><a/></message>"),
    ("<message>\n  <body> x </body>\n</message>", "<message><body>x</body></message>"),
    ("<message/>", "<message xml:lang='en'/>"),
    ("<m name='{odd}'/>", "<m name='a&lt;b&gt;&apos;&amp;&quot;'/>"),
    ("<m><body>{any}</body></m>", "<m><body/></m>"),
]

FAILS = [
    ("<message/>", "<presence/>"),
    ("<message/>", "<message xmlns='urn:other'/>"),
    ("<message to='{romeo}'/>", "<message to='juliet@martlet.example'/>"),
    ("<message to='{romeo}'/>", "<message/>"),
    ("<message/>", "<message id='x1'/>"),
    ("<message id='x{any}'/>", "<message id='y1'/>"),
    ("<message id='{one|two.}'/>", "<message id='twox'/>"),
    ("<message><body>x</body></message>", "<message><body>y</body></message>"),
    ("<message><body>x</body></message>", "<message/>"),
    ("<message/>", "<message><body>x</body></message>"),
    ("<message><body>x</body></message>", "<message><body>x</body><body>x</body></message>"),
    ("<message><a/><a/></message>", "<message><a/></message>"),
    ("<message/>", "<message>text</message>"),
    ("<message xml:lang='de'/>", "<message xml:lang='en'/>"),
]


def compare(pattern: str, actual: str) -> str | None:
    (wanted,) = match.parse(match.fill(pattern, KNOWN))
    (found,) = match.parse(actual)
    return match.difference(wanted, found, {})


@pytest.mark.parametrize("pattern, actual", HOLDS)
def test_a_pattern_matches(pattern, actual):
    assert compare(pattern, actual) is None


@pytest.mark.parametrize("pattern, actual", FAILS)
def test_a_pattern_does_not_match(pattern, actual):
    assert compare(pattern, actual)


def test_what_was_remembered_is_known():
    (wanted,) = match.parse(match.fill("<m id='a{as rest}'/>", {}))
    (actual,) = match.parse("<m id='abc'/>")
    found: dict[str, str] = {}
    assert match.difference(wanted, actual, found) is None
    assert found == {"rest": "bc"}


@pytest.mark.parametrize("script", [
    "romeo connects\n",
    "Scene: x\nromeo dances\n",
    "Scene: x\nromeo connects\n    <message/>\n",
    "Scene: x\nOver: carrier pigeon\n",
])
def test_a_script_with_a_mistake_is_refused(tmp_path, script):
    path = tmp_path / "mistake.play"
    path.write_text(script)
    with pytest.raises(play.ScriptError):
        play.read(path)


def test_an_unknown_name_is_a_mistake():
    with pytest.raises(match.PatternError):
        match.fill("{mercutio}", KNOWN)
