"""Training of seed-batched networks: every seed of an arm at once, and none touches another.

Every operation of a step keeps the leading seed axis: the loss is summed over seeds, so that the
gradient of each seed is its own; optimizers work elementwise on one (S, P) matrix. The same seeds,
data and recipe give the same bytes.
"""

from bnlib.networks.batches import batch_order
from bnlib.training.evaluation import Picked, RunningTracker, accuracy, losses, pick_rate, scores
from bnlib.training.loop import History, Step, one_thread, seed_losses, train
from bnlib.training.recipe import Recipe

__all__ = [
    "History",
    "Picked",
    "Recipe",
    "RunningTracker",
    "Step",
    "accuracy",
    "batch_order",
    "losses",
    "one_thread",
    "pick_rate",
    "scores",
    "seed_losses",
    "train",
]
