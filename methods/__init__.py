"""Transfer-learning methods: one file each, one table. Importing this package imports nothing else.

``METHODS`` maps a name to ``module:Class``; ``VARIANTS`` maps a name to a method and the options that set it apart.
"""

METHODS = {
    "fine_tuning": "methods.fine_tuning:FineTuning",
    "linear_probe": "methods.linear_probe:LinearProbe",
    "l2_sp": "methods.l2_sp:L2SP",
    "delta": "methods.delta:Delta",
    "rifle": "methods.rifle:Rifle",
    "mixup": "methods.mixup:Mixup",
    "cutmix": "methods.cutmix:CutMix",
    "manifold_mixup": "methods.manifold_mixup:ManifoldMixup",
    "smile": "methods.smile:Smile",
    "bss": "methods.bss:BSS",
    "co_tuning": "methods.co_tuning:CoTuning",
    "stoch_norm": "methods.stoch_norm:StochNorm",
    "lwf": "methods.lwf:LwF",
    "bi_tuning": "methods.bi_tuning:BiTuning",
    "reg_sl": "methods.reg_sl:RegSL",
    "lr_decay": "methods.lr_decay:LrDecay",
    "ema": "methods.ema:Ema",
    "swa": "methods.swa:Swa",
    "lp_ft": "methods.lp_ft:LpFt",
    "wise_ft": "methods.wise_ft:WiseFt",
    "sam": "methods.sam:Sam",
    "bitfit": "methods.bitfit:BitFit",
}

VARIANTS = {
    "linear_probe_bn_train": ("linear_probe", {"bn_train": True}),
    "l2_sp_smile": ("l2_sp", {"alpha": 1e-3, "beta": 1e-4, "wd_backbone": 1e-4}),
    "delta_smile": ("delta", {"layers": "final", "scale": "smile", "beta": 1e-4, "wd_backbone": 1e-4}),
    "delta_plain": ("delta", {"attention": "uniform"}),
    "rifle_cyclic": ("rifle", {"head_lr": "cyclic"}),
    "cutmix_smile": ("cutmix", {"alpha": 0.2}),
    "smile_cutmix": ("smile", {"mixer": "cutmix"}),
    "smile_no_feature": ("smile", {"feature_weight": 0.0}),
    "smile_no_source": ("smile", {"source_weight": 0.0}),
    "smile_no_target_mix": ("smile", {"target_mix": False}),
    "smile_fixed_teacher": ("smile", {"teacher": "fixed"}),
    "smile_sq_mean": ("smile", {"feature_norm": "sq_mean"}),
    "smile_code": ("smile", {"fold": True}),
    "co_tuning_learned": ("co_tuning", {"relationship": "learned"}),
    "lwf_tllib": ("lwf", {"weight": 4.0, "temperature": 3.0, "train_source_head": False}),
    "reg_sl_penalty": ("reg_sl", {"mode": "penalty"}),
    "asam": ("sam", {"adaptive": True, "rho": 0.5}),
    "reg_sl_self_label": ("reg_sl", {"self_label": True}),
}
