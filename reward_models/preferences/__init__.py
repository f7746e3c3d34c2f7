"""What people (or stand-ins for people) prefer: pairs, answers, and the files that keep them."""

from reward_models.preferences.annotators import SimulatedAnnotator, persona
from reward_models.preferences.exchange import (
    FileAnswers,
    export_preferences,
    import_preferences,
    read_answers,
)
from reward_models.preferences.formats import (
    PreferenceData,
    data_hash,
    read_preferences,
    write_preferences,
)
from reward_models.preferences.handout import Handout
from reward_models.preferences.leases import (
    ConflictError,
    HandoutConfig,
    Lease,
    Progress,
    SheetVote,
    Vote,
    WorkItem,
)
from reward_models.preferences.pairs import (
    Answer,
    Pair,
    Preference,
    build_pairs,
    majority,
    pair_identity,
    vote_shares,
)
from reward_models.preferences.rankings import (
    Item,
    Ranking,
    Rating,
    completions_of,
    decided_pairs,
    pairs_of_labels,
    pairs_of_rankings,
    pairs_of_ratings,
)
from reward_models.preferences.sheets import (
    Judgement,
    Marked,
    Sheet,
    learned_from,
    make_sheets,
    mark_lines,
    read_marks,
    texts_of_pairs,
)
from reward_models.preferences.splitting import Division, divide, remarks
from reward_models.preferences.store import PreferenceStore, Provenance, StoreError

__all__ = [
    "Answer",
    "ConflictError",
    "Division",
    "FileAnswers",
    "Handout",
    "HandoutConfig",
    "Item",
    "Judgement",
    "Lease",
    "Marked",
    "Pair",
    "Preference",
    "PreferenceData",
    "PreferenceStore",
    "Progress",
    "Provenance",
    "Ranking",
    "Rating",
    "Sheet",
    "SheetVote",
    "SimulatedAnnotator",
    "StoreError",
    "Vote",
    "WorkItem",
    "build_pairs",
    "completions_of",
    "data_hash",
    "decided_pairs",
    "divide",
    "export_preferences",
    "import_preferences",
    "learned_from",
    "majority",
    "make_sheets",
    "mark_lines",
    "pair_identity",
    "pairs_of_labels",
    "pairs_of_rankings",
    "pairs_of_ratings",
    "persona",
    "read_answers",
    "read_marks",
    "read_preferences",
    "remarks",
    "texts_of_pairs",
    "vote_shares",
    "write_preferences",
]
