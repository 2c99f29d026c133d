"""Rows that talk to a language model: told by a table of patterns, each with a name that a person can check against the row.

A pattern knows what is common, not what is clever: what it finds deserves a look, and what it does not find may still be one. What keeps an
instruction in a row from being followed is the prompt, which sets the row apart, and the scoring, which takes labels alone.
After the attacks that Perez and Ribeiro 2022 ("Ignore previous prompt", arXiv:2211.09527) and Liu et al. 2023 (arXiv:2310.12815) name.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

VERSION = 1  # raise it when the same text would be told otherwise
AROUND, SHOWN = 30, 100  # characters shown on either side of what was found, and in all
INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")  # often put between letters, so that nobody finds them


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


# Gaps are bounded, so each place of a text is looked at a bounded number of times.
RULES = {
    "ignore what was said": _any(
        r"\b(?:ignore|disregard|forget|override|bypass|do not follow|don't follow)\b.{0,40}?\b(?:instructions?|prompts?|rules|directions|commands)\b",
        r"\b(?:ignore|disregard|forget)\b (?:all|everything|anything|what)\b.{0,20}?\b(?:above|before|previous(?:ly)?|prior|earlier|so far)\b",
        r"\b(?:ignorier\w*|vergiss|vergessen sie|missacht\w*|befolge nicht)\b.{0,40}?\b(?:anweisung\w*|instruktion\w*|befehl\w*|regeln|vorgaben)\b",
        r"\b(?:ignore[sz]?|oublie[sz]?|ne tene?z pas compte)\b.{0,40}?\b(?:instructions|consignes|règles|directives)\b",
        r"\b(?:ignor[ae]|olvid[ae]|omit[ae]|descart[ae])\b.{0,40}?\b(?:instrucciones|instruções|istruzioni|indicaciones|reglas|regras|regole|órdenes)\b",
        r"\b(?:dimentica|esqueça|negeer|vergeet)\b.{0,40}?\b(?:istruzioni|instruções|instructies|opdrachten|regole|regras|regels)\b",
        r"\b(?:zignoruj|zapomnij)\b.{0,40}?\b(?:instrukcj\w*|poleceni\w*)\b",
        r"(?:игнорируй|проигнорируй|забудь)\w*.{0,40}?(?:инструкц|указани|правил)",
        r"(?:忽略|无视|無視|忘记|忘記).{0,20}?(?:指令|指示|说明|說明|提示|规则|規則)",
        r"(?:指示|命令|ルール|プロンプト).{0,10}?(?:無視|忘れ)",
        r"(?:지시|명령|지침).{0,10}?무시",
        r"تجاهل.{0,40}?(?:تعليمات|التعليمات|أوامر|الأوامر)",
    ),
    "says who speaks": _any(
        r"(?:\A|[\n\r.!?;>\]])\s{0,8}(?:\*\*|\[|\()?(?:system|assistant|developer|ai)(?: (?:prompt|message|note|instruction))?(?:\*\*|\]|\))? ?:",
        r"(?<!#)#{2,6} ?(?:system|instructions?|response|assistant|input|human)\b",
        r"\b(?:begin|end) (?:of )?(?:system )?(?:prompt|instructions?|user input|data)\b",
    ),
    "a token of a chat template": _any(
        r"<[|｜][^\s<>]{1,60}[|｜]>",
        r"<\|?im_(?:start|end|sep)\b",
        r"</?s>",
        r"\[/?inst\]",
        r"<</?sys>>",
        r"<(?:start|end)_of_(?:turn|text)>",
        r"<(?:bos|eos|eot|bot|eod)>",
        r"\[(?:available_tools|tool_calls|tool_results|system_prompt|gmask)\]",
        r"</?(?:think|thinking|tool_call|tool_response)>",
    ),
    "a tag of the prompt": _any(r"<\s?/?\s?text(?:_pair)?\s?>"),
    "tells what to answer": _any(
        r"\b(?:answer|respond|reply)\b (?:(?:only|simply|just|always|exclusively|instead) )?(?:with|by saying|exactly)\b",
        r"\b(?:always|only|just|simply) (?:answer|respond|reply|output|return|print|say)\b",
        r"\b(?:output|print|return|write|say) (?:(?:only|exactly|just) )?(?:the )?(?:word|label|text|string|following)\b",
        r"\b(?:the )?(?:correct|right|true|proper|real|final) (?:label|answer|class|category|output) (?:is|must be|:)",
        r"\b(?:classify|label|categori[sz]e|rate|mark|score) (?:this|it|the (?:text|row|message|review))(?: (?:text|row))? (?:as|with)\b",
        r"\banswer is\b.{0,10}?[\"'“‘*`]?\w+[\"'”’*`]?\s?(?:\.|\Z)",
        r"\bantworte(?:n sie)? (?:nur |immer |ausschließlich |einfach )?mit\b",
        r"\br[ée]pond(?:s|ez|re) (?:uniquement |seulement |toujours |simplement )?(?:avec|par)\b",
        r"\brespond[ae] (?:solo |sólo |siempre |únicamente |apenas |sempre |somente )?(?:con|com)\b",
        r"\brispondi (?:solo |sempre |soltanto )?con\b",
        r"\bantwoord (?:alleen |altijd )?met\b",
        r"(?:ответь|отвечай)\w*.{0,20}?(?:только|словом)",
        r"(?:只|请|必须|必須)(?:回答|输出|輸出|回复|回覆)",
        r"と(?:だけ)?答え(?:て|ろ|なさい)",
    ),
    "gives a role": _any(
        r"\byou (?:are|will be|act) (?:now|no longer|from now on)\b",
        r"\bfrom now on,? (?:you|always|act|answer|respond)\b",
        r"\bpretend (?:that )?(?:you(?:'re| are)|to be an? (?:ai|assistant|model|bot))\b",
        r"\bact as (?:an? )?(?:ai|assistant|language model|chat ?bot|bot|classifier|system)\b",
        r"\b(?:du bist|sie sind) (?:jetzt|nun|ab jetzt|ab sofort)\b",
        r"\bab (?:jetzt|sofort) (?:bist du|sind sie|antworte\w*)\b",
        r"\b(?:tu es|vous êtes) (?:maintenant|désormais)\b",
        r"\b(?:ahora eres|a partir de ahora (?:eres|responde)|agora você é|ora sei un)\b",
        r"\bjesteś teraz\b",
        r"ты теперь|теперь ты",
        r"(?:你现在是|你現在是|从现在开始|從現在開始)",
        r"あなたは(?:今から|これから)",
    ),
    "asks about the prompt": _any(
        r"\b(?:system|hidden|initial|original|secret) (?:prompt|instructions?)\b",
        r"\b(?:reveal|repeat|print|show|leak|tell me) (?:me )?your (?:\w+ )?(?:prompt|instructions?|rules)\b",
        r"\b(?:developer|debug|dan|god|jailbreak) mode\b",
        r"\bjailbreak\b",
        r"\bas an? (?:ai|large)? ?language model\b",
    ),
    "invisible letters": re.compile("(?:\\A|[^\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007e]"),  # a flag's letters follow its black flag
}  # fmt: skip


@dataclass(frozen=True)
class Sign:
    """Why a row seems to talk to a model: the rule, and the place in its text."""

    rule: str
    found: str


def signs(text: str) -> list[Sign]:
    """Return all rules that find something in ``text``, each with the first place; none for most texts.

    Looked at as it is, and, for letters that only look otherwise, in its compatibility form without invisible ones.
    """
    plain = text if text.isascii() else INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    forms = (text,) if plain == text else (plain, text)
    found = {rule: next((_place(form, match) for form in forms if (match := pattern.search(form))), None) for rule, pattern in RULES.items()}
    return [Sign(rule, place) for rule, place in found.items() if place is not None]


def _place(text: str, match: re.Match[str]) -> str:
    begin, end = max(0, match.start() - AROUND), min(len(text), match.end() + AROUND)
    shown = " ".join(text[begin:end].split())
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…"
