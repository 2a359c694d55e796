#!/usr/bin/env python3
"""Second, independent forward pass (numpy only, written from the Hugging Face LLaMA
conventions: rotate_half RoPE, repeat_kv, y = x @ W.T). Checks reference.json of a model
directory and, where it holds heldout.txt, the loss on that text.   usage: verify_np.py MODEL_DIR [float32|float64]"""
import json, os, sys
import numpy as np
from safetensors import safe_open
from tokenizers import Tokenizer
D = sys.argv[1]; FT = np.dtype(sys.argv[2] if len(sys.argv) > 2 else "float32").type
C = json.load(open(f"{D}/config.json")); W = {}
with safe_open(f"{D}/model.safetensors", "np") as f:
    for n in f.keys(): t = f.get_tensor(n); assert t.dtype == np.float16, n; W[n] = t.astype(FT)
nh, nkv, L, H = C["num_attention_heads"], C["num_key_value_heads"], C["num_hidden_layers"], C["hidden_size"]; hd = H // nh
for n, t in W.items():
    if t.ndim == 2: assert t.shape[1] % 128 == 0, (n, t.shape)
    assert np.isfinite(t).all()
print("tensors", len(W), "parameters", sum(t.size for t in W.values()), "max|w| %.3f" % max(abs(t).max() for t in W.values()))
head = W["model.embed_tokens.weight"] if C["tie_word_embeddings"] else W["lm_head.weight"]
def norm(x, w): return (w * (x / np.sqrt((x ** 2).mean(-1, keepdims=True) + FT(C["rms_norm_eps"])))).astype(FT)
def rotate_half(x): return np.concatenate([-x[..., hd // 2:], x[..., :hd // 2]], -1)
inv = 1.0 / C["rope_theta"] ** (np.arange(0, hd, 2, dtype=np.float64) / hd)
def forward(ids):
    T = len(ids); e = np.outer(np.arange(T), inv); e = np.concatenate([e, e], -1); cos, sin = np.cos(e).astype(FT), np.sin(e).astype(FT)
    x = W["model.embed_tokens.weight"][np.asarray(ids)]
    for l in range(L):
        p = lambda n: W[f"model.layers.{l}.{n}.weight"]
        h = norm(x, p("input_layernorm"))
        sh = lambda y, n: y.reshape(T, n, hd).transpose(1, 0, 2)
        q, k, v = sh(h @ p("self_attn.q_proj").T, nh), sh(h @ p("self_attn.k_proj").T, nkv), sh(h @ p("self_attn.v_proj").T, nkv)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = np.repeat(k, nh // nkv, 0), np.repeat(v, nh // nkv, 0)
        s = q @ k.transpose(0, 2, 1) / FT(np.sqrt(hd)); s[:, np.triu_indices(T, 1)[0], np.triu_indices(T, 1)[1]] = -np.inf
        s = np.exp(s - s.max(-1, keepdims=True)); s /= s.sum(-1, keepdims=True)
        x = x + (s @ v).transpose(1, 0, 2).reshape(T, H) @ p("self_attn.o_proj").T
        h = norm(x, p("post_attention_layernorm")); g = h @ p("mlp.gate_proj").T
        x = x + (g / (1 + np.exp(-g)) * (h @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T
    return norm(x, W["model.norm.weight"]) @ head.T
R = json.load(open(f"{D}/reference.json")); tok = Tokenizer.from_file(f"{D}/tokenizer.json")
for p in R["prompts"]:
    assert tok.encode(p["text"]).ids == p["ids"], "tokenizer"
    lg = forward(p["ids"])[-1]; top = np.argsort(-lg)[:20].tolist()
    d = np.abs(lg[p["top20_ids"]] - np.array(p["top20_logits"])).max(); ids = list(p["ids"]); gap = []
    for _ in range(64): o = forward(ids)[-1]; s = np.sort(o); gap.append(s[-1] - s[-2]); ids.append(int(o.argmax()))
    print(repr(p["text"][:40]), "max|logit diff| %.2e" % d, "top20 order same", top == p["top20_ids"],
          "greedy64 same", ids[len(p["ids"]):] == p["greedy64_ids"], "smallest greedy margin %.4f" % min(gap))
if not os.path.exists(f"{D}/heldout.txt"): sys.exit(0)
held = [s.strip("\n") for s in open(f"{D}/heldout.txt").read().split("<|endoftext|>") if s.strip()]
S = [t for s in held for t in tok.encode(s).ids] + [0]; T = 256; tot = 0.0
raw = tok.encode("".join(s + "<|endoftext|>" for s in held)).ids      # literal marker in text -> id 0
assert raw == S, "marker handling"
assert tok.decode(S[1:-1], skip_special_tokens=False) == "<|endoftext|>".join(held), "round trip"
for i in range(0, len(S) - 1, T):
    c = S[i:i + T + 1]; lg = forward(c[:-1]).astype(np.float64); m = lg.max(-1); lse = m + np.log(np.exp(lg - m[:, None]).sum(-1))
    tot += (lse - lg[np.arange(len(c) - 1), c[1:]]).sum()
b = sum(len(s.encode()) + 1 for s in held)
print("heldout nats/token %.5f" % (tot / (len(S) - 1)), "nats/byte %.5f" % (tot / b), "bits/byte %.5f" % (tot / b / np.log(2)), "| reference", R["heldout"])
