"""The linear probe trains the classifier alone, and says what its BatchNorm does."""

import pytest
import torch

from methods.linear_probe import LinearProbe
from tests.methods.tiny import images, pair


@pytest.mark.parametrize("bn_train", [False, True])
def test_only_the_classifier_learns_and_statistics_stay_unless_asked(bn_train):
    component = LinearProbe(bn_train=bn_train)
    student, _ = pair()
    for p in student.parameters():
        p.requires_grad_(any(p is chosen for chosen in component.trains(0, student, 3)))
    before = {name: t.clone() for name, t in student.state_dict().items()}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        student.train()
        component.train_mode(student)
        optimizer.zero_grad()
        student(images().x).logits.square().sum().backward()
        optimizer.step()
    changed = {name for name, t in student.state_dict().items() if not torch.equal(t, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert changed == {"body.fc.weight", "body.fc.bias"} | (statistics if bn_train else set())
    assert student.head.training
