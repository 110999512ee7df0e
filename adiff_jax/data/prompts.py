"""What a model is asked: six kinds of instruction, each in one canonical and many other wordings.

ADIFF (Deshmukh et al., ICLR 2025) asks for an explanation in one of three tiers and, as position
captioning, for a caption of the first clip, the second, or both; in training it draws among
paraphrases of the instruction. Theirs are not published: these are ours. Each is short enough for
the 40 tokens of a prompt, and says by itself which of the six it asks for.
"""

import zlib
from types import MappingProxyType

CANONICAL = MappingProxyType(
    {
        "tier-1": "explain the difference in few words",
        "tier-2": "explain the difference in a sentence",
        "tier-3": "explain the difference in detail",
        "caption-first": "caption the first audio",
        "caption-second": "caption the second audio",
        "caption-both": "caption both audios",
    }
)
"""The instruction of each kind, which sources state and evaluation uses. Those of the tiers are
worded as ADIFF's data words them."""

PARAPHRASES = MappingProxyType(
    {
        "tier-1": (
            CANONICAL["tier-1"],
            "name the difference between the two recordings briefly",
            "in a few words, how do the clips differ?",
            "tell me in short what differs between the two audios",
            "give a brief account of what sets the two sounds apart",
            "what is different? keep it short",
            "compare the recordings in as few words as you can",
            "say concisely how the second audio differs from the first",
            "state the contrast between the clips in a short phrase",
            "a quick summary of how these two recordings differ, please",
            "briefly, what distinguishes audio 1 from audio 2?",
            "put the difference between both clips into a handful of words",
            "list the main difference only, without any elaboration",
            "contrast the two audios, as tersely as possible",
        ),
        "tier-2": (
            CANONICAL["tier-2"],
            "describe how the two recordings differ in one sentence",
            "write a single full sentence on what sets the clips apart",
            "in one sentence, compare the sounds and scenes of both audios",
            "how does the second audio differ from the first? answer with one sentence",
            "give one complete sentence that contrasts the two recordings",
            "sum up the differences between the clips in a single sentence",
            "compare both recordings using exactly one sentence",
            "one sentence, please: what distinguishes these two audios?",
            "state in a sentence how audio 1 and audio 2 are unlike",
            "formulate one sentence about the contrast between the two sounds",
            "use a single sentence to tell the two clips apart",
            "what differs between the recordings? a full sentence will do",
            "express the difference between the two audios as one sentence",
        ),
        "tier-3": (
            CANONICAL["tier-3"],
            "compare the two recordings thoroughly, event by event",
            "give a detailed comparison of both clips",
            "describe at length how the second audio differs from the first",
            "write a long and complete explanation of what sets the clips apart",
            "go into every detail of how these recordings differ",
            "analyse the differences in events, scene and acoustics at length",
            "explain comprehensively what distinguishes audio 1 from audio 2",
            "in depth, how do the two sounds compare?",
            "describe each recording fully, then how they differ",
            "tell me everything that is different between the two audios",
            "provide an extensive account of the contrast between both clips",
            "elaborate on all the differences that can be heard, in several sentences",
            "a full paragraph on how these two recordings differ, please",
        ),
        "caption-first": (
            CANONICAL["caption-first"],
            "describe the first recording only",
            "what can be heard in audio 1?",
            "write a caption for the first clip",
            "tell me what happens in the first sound",
            "say what the first of the two recordings contains",
            "give a description of audio 1 alone",
            "which sounds are in the first clip?",
            "leave the second clip aside and describe the other one",
            "put the content of the first audio into words",
            "summarize what you hear in the first recording",
            "provide a caption of audio 1",
            "what goes on in the earlier of the two clips?",
        ),
        "caption-second": (
            CANONICAL["caption-second"],
            "describe the second recording only",
            "what can be heard in audio 2?",
            "write a caption for the second clip",
            "tell me what happens in the second sound",
            "say what the second of the two recordings contains",
            "give a description of audio 2 alone",
            "which sounds are in the second clip?",
            "leave the first clip aside and describe the other one",
            "put the content of the second audio into words",
            "summarize what you hear in the second recording",
            "provide a caption of audio 2",
            "what goes on in the later of the two clips?",
        ),
        "caption-both": (
            CANONICAL["caption-both"],
            "describe each of the two recordings",
            "what can be heard in audio 1, and what in audio 2?",
            "write a caption for either clip, one after the other",
            "tell me what happens in both sounds",
            "say what each recording contains",
            "give a description of audio 1 and of audio 2",
            "which sounds are in the one clip and which in the other?",
            "describe the first clip, then the second, without comparing them",
            "put the content of both audios into words",
            "summarize what you hear in each recording",
            "provide two captions, one for each audio",
            "what goes on in the first clip and what in the second?",
        ),
    }
)
"""The wordings of each kind, the canonical one among them."""

_KINDS = {text: kind for kind, texts in PARAPHRASES.items() for text in texts}


def question(tier: int | None = None, caption: str = "", prompt: str = "") -> str:
    """The prompt for a tier (1, 2, 3; by default 1), a caption ("first", "second", "both"), or as
    it is given.

    Errors: ValueError for more than one of them, and for another tier or caption.
    """
    if sum((tier is not None, bool(caption), bool(prompt))) > 1:
        raise ValueError("tier, caption and prompt are three ways to ask: give one of them")
    if prompt:
        return prompt
    kind = f"caption-{caption}" if caption else f"tier-{1 if tier is None else tier}"
    if kind not in CANONICAL:
        raise ValueError(
            f"caption is {caption!r}: ask for first, second or both"
            if caption
            else f"tier is {tier}: ask for 1 (few words), 2 (a sentence) or 3 (in detail)"
        )
    return CANONICAL[kind]


def kind_of(prompt: str) -> str:
    """The kind of which `prompt` is a wording.

    Errors: ValueError for a prompt of none.
    """
    if prompt not in _KINDS:
        raise ValueError(
            f"the prompt {prompt!r} is a wording of none of {', '.join(CANONICAL)}, so that there "
            "are no paraphrases of it; state a prompt of adiff_jax.data.prompts, or leave "
            "data.encode.paraphrase off"
        )
    return _KINDS[prompt]


def paraphrase(kind: str, draw: int) -> str:
    """A wording of `kind`; the same for the same `draw`, and each as likely as the others.

    Errors: KeyError for a kind that is none.
    """
    texts = PARAPHRASES[kind]
    # Hashed, because callers choose other things by the remainder of the same draw.
    return texts[zlib.crc32(f"{kind}:{draw}".encode()) % len(texts)]
