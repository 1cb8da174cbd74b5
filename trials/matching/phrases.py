"""Phrases that people write around answers: the one table that all readers share.

Word lists come first, a meaning each, in the languages that datasets are written in most. The
patterns below are built from them and grouped by where they stand: between two answers, before one,
behind one, and in the sentence that concludes. All are bounded, so matching takes linear time.
"""

from __future__ import annotations

import re

WINDOW = 80  # characters before an answer that are looked at, and between two that belong together


def _words(alternatives: str) -> str:
    """The alternatives as whole words."""
    return rf"(?<!\w)(?:{alternatives})(?!\w)"


def _compile(source: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    return re.compile(source, re.VERBOSE | re.IGNORECASE | flags)


# Word lists

_PUNCTUATION = r"[\s\"'()\[\]{}.!?…*#$:-]"
_OR = _words("or|vs|versus|alternatively|oder|ou|или|або|atau|veya|hoặc|lub|czy|eller|أو|या")
_OR = f"(?:{_OR}|或|또는|または|もしくは|หรือ)"
_MAYBE = rf"(?:{_words('maybe|perhaps|possibly|vielleicht|quizás|возможно')}|也许)"
_FOREIGN_AND = r"und|et|y|o|e|и"
_LISTED = rf"(?:[,;/&+|、]|{_words(f'and|{_FOREIGN_AND}|و')}|[和と와])"
_CORRECTION = r"wait|actually|sorry|correction|rather"
_RETRACTION = rf"""{_CORRECTION}|oops|hmm+|i\s+meant?|scratch\s+that|on\s+second\s+thoughts?"""
_HENCE = r"so|therefore|thus|hence"
_NOUN = r"answer|option|choice|label"
# Between "or" and what it offers: "or the answer is", "maybe it's".
_FILLING = rf"""the|an?|my|its?|it's|that|that's|this|is|are|was|be|could|might|may|can|would|should
    |must|i|we|think|guess|say|so|only|also|even|else|either|both|final|correct|right|other|{_NOUN}
    |result|number|value"""
_FILLER = rf"(?:{_words(_FILLING)}|\\boxed|\\text)"
_FILLED = rf"(?:{_PUNCTUATION}{{1,9}}(?:{_MAYBE}|{_FILLER})){{0,8}}"

# Between two answers

JOINING = _compile(
    rf"""(?:{_PUNCTUATION}|{_LISTED}|(?:{_OR}|{_MAYBE}|{_words("and")}){_FILLED}
    |{_words("also|even|option|choice")}|\\(?:text|q?quad|,|;))*"""
)
OR = _compile(_OR)
HEDGE = _compile(f"{_OR}|{_MAYBE}")
JOINT = _compile(f"{_OR}|{_MAYBE}|{_LISTED}")
SENTENCE_BREAK = _compile(r"[.!?…][\"')\]]*\s|\n")
_BEFORE_BACK = r"(?:^|[.,;:!?…*-])\s*(?:(?:no|oh|but|or)[\s,.!]{1,3}){0,2}"
_BEHIND_BACK = rf"(?!\w)(?:[\s,.:!;…-]{{1,9}}{_FILLER}){{0,8}}[\s,.:!;…\"'($\[*-]*$"
RETRACTED = _compile(f"{_BEFORE_BACK}(?:{_RETRACTION}){_BEHIND_BACK}")
RETRACTED_OR_NO = _compile(f"{_BEFORE_BACK}(?:{_RETRACTION}|no){_BEHIND_BACK}")
EITHER_FORMULA = _compile(
    r"""(?<![^\W_])(?:or|vs|versus|oder|ou)(?![^\W_])
    (?!\W*(?:about|approx\w*|roughly|around|equivalently|simply|in|≈|~|\\approx))"""
)
COMMA = _compile(r"\s*,\s*")
NOR = _compile(r"\s*,?\s*(?:or|nor)\s+")
AND_OR_NOR = _compile(r"\s*,?\s*(?:and|or|nor|&)\s+")
# Between a number and another one that is an answer, too.
ANOTHER_NUMBER = _compile(
    rf"""(?<!\w)(?:{_FOREIGN_AND}|{_CORRECTION}|instead|either
    # "and it takes", "no matter", "to give to" begin what is said about the number.
    |and(?!\s+(?:it|this|that|he|she|they|we|you|i)(?!\w))|to(?=[\s$€£(]*$)
    |no(?=\W*(?:[,.!;:-]|$|(?:it|its|the|that)(?!\w))))(?!\w)|[和と]"""
)
# "42 left of the 50": the whole stands behind its part.
PART_OF = _compile(
    r"""[^\d.!?\n]*(?<!\w)of\s+(?:the|his|her|their|its|our|my|your|these|those|all)\s+
    (?:original\s+|initial\s+|first\s+)?\(?\$?"""
)
APPROXIMATION = _compile(
    r"""\W*(?:[=≈]|(?:(?:or|that\s+is|which\s+is|i\.e\.)\W+)?
    (?:about|approximately|approx\.?|roughly|around))\W*"""
)
# "x = 5 or x = 6", "x = 5, x = 6": the equation before the last one is meant, too.
EITHER_EQUATION = re.compile(
    r"""=[^=]{1,40}(?<!\w)(?:or|vs|versus|oder|ou|maybe|perhaps)(?!\w)[^=\d]{0,20}=$
    |(?<![\w)])(?P<name>[A-Za-z]\w?)\s*(?P<at>=)\s*-?\d[\d.]*\s*(?:[,;&]\s*(?:and\s*)?|and\s+)
    (?P=name)\s*=$""",
    re.VERBOSE,
)
# "5 apples 6 pears": two numbers, each with its own word, and nothing else.
TWO_COUNTS = _compile(
    r"""\W{0,9}[\d.,]{0,30}\d\s+
    (?!(?:of|out|in|per|at|for|by|from|after|as|since|is|are|with|on|to|so|but|then)\b)
    [^\W\d_]{1,20}[\s,;.&]+(?:and\s+)?[\d.,]{0,30}\d\s+[^\W\d_]{1,20}\W*"""
)

# Before an answer

OFFERED = _compile(rf"{_OR}{_FILLED}{_PUNCTUATION}*$")


def denial(no: bool) -> re.Pattern[str]:
    """Words that deny the label behind them; ``no``: among them "no", which may be a label."""
    return _compile(
        rf"""(?:(?<!\w)(?:not|never|neither|nor|cannot\s+be|than|over|rul(?:e|ed|ing)\s+out
          |instead\s+of|despite|unlike|except|without|non|nicht|keine?|kein|pas|ni|não|нет|не
          |و?ليست?|không(?:\s+phải)?|{"no" if no else "(?!)"})|n't)
          \s+(?:(?:a|an|the|un|une|eine?|be|is|it|it's|that|case|think|believe|{_NOUN}|correct
            |right)\s+){{0,6}}["'(\[]*$
        | (?<!\w)(?:anything|everything|all)\s+but\s+["'(\[]*$
        | (?:不是|并非|並非|不|非|没有|没|無|无|未|ไม่)["'(\[]*$"""
    )


DENIED_NUMBER = _compile(
    r"""(?<!\w)(?:(?:not|cannot|can't)(?:\s+be)?|isn't|never|nicht|pas|no\ es|не|instead\s+of
    |(?:rather|more|less|other|[a-z]{2,9}er)\s+than)\s+\(?\$?$
    |(?:不是|并非|並非|不等于)\s*\(?\$?$"""
)
ELIMINATED = _compile(
    r"""(?<!\w)(?:eliminat|discard|reject|exclud|dismiss|rul)(?:e|es|ed|ing)?\s+(?:out\s+)?
    (?:(?:options?|choices?|both)\s+){0,2}["'(\[]*$"""
)
CALLED_OPTION = _compile(
    r"""(?:(?<!\w)(?:option|choice|label|candidate|alternative|variant|opción|opção)\s
    |选项|選項|选择?)\s*["'(\[{]*$"""
)
# What a letter belongs to that is not a label.
LETTERED_NAME = _compile(r"(?:[#@]|°\s?|(?<!\w)(?:vitamine?|vitamina|hepatitis|influenza)\s)$")
LEADING = re.compile(
    r"[\s$€£¥₹~≈:(\[]*(?:about|approximately|exactly|around|roughly)?[\s$€£¥₹(\[]*"
)

# Behind an answer

CALLED_WRONG = _compile(
    r"""["')\]]*\s*(?:
        (?:is|are|was|seems?|looks?|would\s+be|must\s+be)\s+
          (?:clearly\s+|definitely\s+|also\s+)?(?:not|wrong|incorrect|false|impossible|out)\b
      | (?:is|are|was|does|can|would)n't\b | cannot\b | can't\b | ist\s+(?:nicht|falsch)\b
      | (?:选?项)?是?(?:错|不对|不正确|不符)
      | (?:では|じゃ)(?:ない|ありません) | \s*(?:değil|नहीं) | 이?\s?아니)"""
)
CALLED_RIGHT = _compile(
    r"""["')\]]*\s*(?:is|must\s+be|seems|looks|fits)\s+(?:clearly\s+|definitely\s+)?
        (?:the\s+)?(?:(?:only|most|one)\s+)*
        (?:correct|right|best|better|answer|true\s+answer)\b | (?:选?项)?是?正确"""
)
CALLED_PLURAL = _compile(r"[\"')\]]*\s*(?:are|were)(?!\w)")
# "B; A is a distractor": a sentence of its own begins.
SUBJECT = _compile(
    r"""["')\]]*\s+(?:is|was|has|does|would|could|isn't|wasn't|doesn't|wouldn't)\s+(?!also\b)"""
)
ASKED = _compile(r"[\"')\]]*\?")
LABEL_CONTINUES = re.compile(
    r"\s+(?:or|and|is|are|was|as|because|since|for|but|not|nor|vs|seems|looks|would|must|fits)\b"
)
LABEL_ENDS = re.compile(r"""["'\]]*\s*?(?:[)\].:,;!\n]|-\s|\s(?:because|since|as|for)\b|$)""")
# "no evidence", "no doubt": behind "no" and before a noun it is not an answer.
DETERMINED_NOUN = re.compile(
    r"""\s+(?!(?:because|since|as|for|but|and|or|nor|not|if|when|while|due|given|is|was|are|were
        |wait|actually|sorry|i|you|he|she|it|we|they|this|that|these|those|there|the|an?)\b)
    [^\W\d_]{2}""",
    re.VERBOSE,
)
# "12, because 3 * 4 = 12", "12, which is 3 * 4": the number stands before.
CLAUSE = _compile(
    r""",?\s+(?:which|because|since|as|where|i\.e\.|that\s+is|meaning|(?:or\s+)?equivalently)(?!\w)"""
)
# "x = 3. Check: 3 + 4 = 7."
CHECK = _compile(
    r"""[^\s](?=\s+\W{0,3}(?:(?:to|let\s+me|let\s+us|let's)\s+)?(?:double[-\ ])?(?:check|verif)
    \w*\W)"""
)
CONTINUES = _compile(
    _words(
        rf"""{_HENCE}|total|altogether|wait|actually|no|not|but|or|maybe|instead|step|first|answer
        |also|may|might|could|leav(?:es|ing)|left"""
    )
)

# In the sentence that concludes

CHOSEN = _compile(
    rf"""(?<!\w)(?:choose|chose|pick|select|go\s+(?:with|for)|opt\s+for|leaves|leaving)\s+
    (?:(?:{_NOUN})\s+)?"""
)
CONCLUSION = _compile(
    _words(
        rf"""{_HENCE}|consequently|must\ be|it's|it\ is|in\ conclusion|in\ the\ end|overall
        |ultimately|only"""
    )
)
RESULT = _compile(
    _words(
        rf"""is|are|was|were|be|makes?|gives?|gets?|equals?|{_HENCE}|leav(?:es?|ing)|totals?
        |total\ of|in\ total|altogether|round(?:s|ed)\s+(?:up\s+|down\s+)?to"""
    )
    + "|所以|因此|一共|总共|总计|合计|合計|还剩|剩下|等于|全部で|따라서"
)
SPOKEN_EQUALS = _compile(
    r"""(\d\s?[-+*/×÷·^]\s?[\d.,]*\d[$\s]{0,2}),?\s+(?:(?:which|that)\s+)?
    (?:is|makes|gives|equals)\s+(?=[-$]{0,2}\d)"""
)
# "the final answer is", "Result:", and the same in other languages.
ANSWER_LABEL = _compile(
    rf"""(?<!\w)(?:(?:final|correct|right|best)\s+){{0,3}}
        (?:{_NOUN}|result|solution|verdict)s?
        (?:\s+(?:to|for|of)\s[^.:\n]{{0,60}}?)?
        \s*(?:(?:is|are|was|will\s+be|would\s+be|should\s+be|must\s+be|equals)\b\s*:?|[:=])
      | (?:答案|正解|答え|정답)(?:应该)?\s*(?:就?是|为|為|は|은|는|:)\s*:?
      | (?<!\w)(?:antwort|ergebnis|lösung)\s*(?:ist|lautet|:)\s*:?
      | (?<!\w)(?:respuesta|resultado|solución|resposta|solução)\s*(?:correcta\s*)?(?:es|é|:)\s*:?
      | (?<!\w)(?:réponse|résultat|risposta|risultato)\s*(?:correcte\s*)?(?:est|è|:)\s*:?
      | (?<!\w)(?:ответ|відповідь|cevap)\s*[:-]
      | (?:الجواب|الإجابة|الاجابة)\s*(?:الصحيحة\s*)?(?:هي|هو|:)\s*:?
      | उत्तर\s*(?:है|:)
      | คำตอบ\s*(?:คือ|:)
      | <(?:final_?)?answer>
      # A line of its own, such as "### Final answer", above the answer.
      | ^[^\w\n]*(?:(?:the|my|final|correct)\s+){{0,3}}(?:answer|result|conclusion)[^\w\n]*\n
      # "#### 42", but no heading: "## Step 2", "### 1. Add".
      | ^[ \t]*\#{{2,6}}(?!\#)(?=[ \t]*[^\w\n]*(?:\d|[^\W\d_](?!\w)))(?![ \t]*\d+[.)][ \t]+\w)
      | ^[ \t]*\#{{4}}(?=[ \t]*[^\s\#])(?![ \t]*\d+[.)][ \t]+\w)(?![ \t]*[^\w\n]*(?:the|my|final
          |answer|solution|step|result|conclusion|explanation|reasoning|problem|question|part)\b)
    """,
    re.MULTILINE,
)


def are_joined(gap: str, alone: bool) -> bool:
    """True when the text between two answers makes both of them meant: "5 or 6", "A / B".

    Only what plainly joins counts: the steps of a derivation have other words between them. Where
    answers stand ``alone``, nothing but answers and what joins them stands behind.
    """
    if len(gap) > WINDOW or not JOINING.fullmatch(gap):
        return False
    joint = OR if SENTENCE_BREAK.search(gap) else JOINT
    return alone or bool(joint.search(gap))


def offers_alternative(gap: str) -> bool:
    """True when the text between two answers offers the second beside the first: ". Or maybe"."""
    return len(gap) <= WINDOW and bool(JOINING.fullmatch(gap) and HEDGE.search(gap))


def ends_with_alternative(before: str) -> bool:
    """True when the text before an answer offers it beside another: "... or the answer is"."""
    return bool(OFFERED.search(before, max(0, len(before) - WINDOW)))


def is_retracted(gap: str, no: bool = True) -> bool:
    """True when the text between two answers takes the first one back: "! No wait, it is".

    Where ``no`` is false, "no" is an answer itself.
    """
    pattern = RETRACTED_OR_NO if no else RETRACTED
    return bool(pattern.search(gap, max(0, len(gap) - WINDOW)))
