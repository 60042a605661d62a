"""The linear probe trains the classifier alone, and says what its BatchNorm does."""

import pytest
import torch

from methods.testing import advance


@pytest.mark.parametrize("bn_train", [False, True])
def test_only_the_classifier_learns_and_statistics_stay_unless_asked(bn_train, ready):
    _, ctx, fit = ready("linear_probe", training={"weight_decay": 0.1}, bn_train=bn_train)
    student = ctx.net
    before = {name: t.clone() for name, t in student.state_dict().items()}
    advance(fit, 3)
    changed = {name for name, t in student.state_dict().items() if not torch.equal(t, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert changed == {"body.fc.weight", "body.fc.bias"} | (statistics if bn_train else set())
    assert student.head.training
