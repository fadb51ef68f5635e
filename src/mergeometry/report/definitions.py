"""What each figure of an inspection means, in the words of its page; docs/reading-the-report.md has the formulas."""

BEFORE = (
    (
        "Moved",
        "Norm of the update: fine-tuned weights minus the base's. Over the base, it is a share of the base's norm.",
    ),
    (
        "Alignment with the base",
        "Cosine of the model's weights with the base's, over all matrices. Fine-tunes have more than 0.9; a model of "
        "another base has about 0. An adapter tells nothing about its base.",
    ),
    (
        "Effective rank",
        "exp of the entropy of the squared singular values: in how many directions the update moves. Stable rank is "
        "the squared norm over that of the strongest direction.",
    ),
    ("Cosine", "Of two updates laid flat. Updates of unrelated tasks have about 0, copies about 1."),
    (
        "Sign conflicts",
        "Share of the magnitude of the updates whose sign the others outvote. Of two independent updates 0.146, of "
        "many nearly 0.5.",
    ),
    (
        "Overlap",
        "Mean squared cosine of the principal angles between the leading directions of two models, on the side of the "
        "outputs and of the inputs. Random directions have as much as they take of the space.",
    ),
    (
        "Interference",
        "Singular task interference (arXiv 2412.00081) over the sum of the singular values: how much the directions of "
        "different models disturb each other when they are added. Of several models, the mean over their pairs.",
    ),
)
AFTER = (
    ("Held in the merge", "Inner product of the merged update and the model's, over the model's squared norm."),
    (
        "Alignment with the merge",
        "Subspace alignment ratio (arXiv 2502.04959): share of the norm of the model's update inside the output "
        "directions that hold 95 % of the merged matrix.",
    ),
    (
        "Directional consistency",
        "Cosine of each output direction of a model with its best match in the merged matrix, weighted by its singular "
        "value (arXiv 2603.06242).",
    ),
    (
        "Over-accumulation",
        "How often the merged matrix counts what its models share, mean over its directions by energy (arXiv "
        "2602.05536). The refinement svc divides by it.",
    ),
    (
        "Distance from a simplex",
        "Delta_ETF (arXiv 2512.00391): distance of the Gram matrix of the models' directions in the merged matrix from "
        "that of a simplex. Outside the frame is the share of the merged matrix that the frame of all directions does "
        "not span.",
    ),
)
