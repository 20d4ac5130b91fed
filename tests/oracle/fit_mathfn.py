#!/usr/bin/env python3
"""Fits the polynomials of src/tensor/mathfn.h by Remez exchange and prints them as C hexadecimal floats.

Needs mpmath. The output is pasted into mathfn.h; the test test_mathfn checks the result against the C library's doubles,
so a wrong coefficient cannot pass unseen.
"""
import mpmath as mp
import struct

mp.mp.dps = 50


def remez(f, w, powers, lo, hi, rounds=30):
    """min over c of max |w(x) (sum c_i x^p_i - f(x))| on [lo, hi]."""
    n = len(powers)
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    xs = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * i / n) for i in range(n + 1)]
    grid = [lo + (hi - lo) * i / 3000 for i in range(3001)]
    fg = [f(x) for x in grid]
    wg = [w(x) for x in grid]
    for _ in range(rounds):
        a = mp.matrix(n + 1, n + 1)
        b = mp.matrix(n + 1, 1)
        for r, x in enumerate(xs):
            for j, p in enumerate(powers):
                a[r, j] = x ** p
            a[r, n] = (-1) ** r / w(x)
            b[r] = f(x)
        sol = mp.lu_solve(a, b)
        c = [sol[j] for j in range(n)]
        err = []
        for x, fx, wx in zip(grid, fg, wg):
            err.append(wx * (sum(cj * x ** p for cj, p in zip(c, powers)) - fx))
        # one extremum in every run of equal sign
        ext, best = [], 0
        for i in range(1, len(grid)):
            if (err[i] >= 0) != (err[best] >= 0):
                ext.append(best)
                best = i
            elif abs(err[i]) > abs(err[best]):
                best = i
        ext.append(best)
        if len(ext) < n + 1:
            break
        while len(ext) > n + 1:
            if abs(err[ext[0]]) < abs(err[ext[-1]]):
                ext.pop(0)
            else:
                ext.pop()
        worst = max(abs(err[i]) for i in ext)
        least = min(abs(err[i]) for i in ext)
        xs = [grid[i] for i in ext]
        if worst / least < 1.001:
            break
    return c, worst


def show(name, c, err):
    print(f"/* {name}: largest error before rounding {mp.nstr(err, 3)} */")
    out = []
    for x in c:
        f = struct.unpack("f", struct.pack("f", float(x)))[0]
        out.append(float.hex(f) + "f")
    print("  " + ", ".join(out))


one = mp.mpf(1)


def taylor_guard(num, x, series):
    return series if abs(x) < mp.mpf("1e-12") else num()


L = mp.log(2) / 2 * mp.mpf("1.01")
show("exp: (e^r - 1 - r) / r^2 in r^0..r^4", *remez(
    lambda r: taylor_guard(lambda: (mp.exp(r) - 1 - r) / r ** 2, r, one / 2),
    lambda r: max(r * r, mp.mpf("1e-6")) / mp.exp(r), range(5), -L, L))
show("log: (log(1+f) - f + f^2/2) / f^3 in f^0..f^8", *remez(
    lambda f: taylor_guard(lambda: (mp.log(1 + f) - f + f * f / 2) / f ** 3, f, one / 3),
    lambda f: abs(f) ** 2 + mp.mpf("1e-4"), range(9), mp.sqrt(0.5) - 1, mp.sqrt(2) - 1))
show("tanh: (tanh x - x) / x^3 in z^0..z^4, z = x^2, |x| <= 0.625", *remez(
    lambda z: taylor_guard(lambda: (mp.tanh(mp.sqrt(z)) - mp.sqrt(z)) / mp.sqrt(z) ** 3, z, -one / 3),
    lambda z: z + mp.mpf("1e-4"), range(5), mp.mpf("1e-14"), mp.mpf("0.625") ** 2))
show("erf: erf(x)/x - 1 in z^0..z^5, z = x^2, |x| <= 0.925", *remez(
    lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
    lambda z: one, range(6), mp.mpf("1e-14"), mp.mpf("0.93") ** 2))
show("erf: log(erfc(t)) in t^0..t^7, 0.925 <= t <= 3.95", *remez(
    lambda t: mp.log(mp.erfc(t)), lambda t: mp.erfc(t) / mp.erf(t), range(8), mp.mpf("0.92"), mp.mpf("3.95")))
# 2/pi, 1280 bits, most significant first: for the reduction of huge angles
mp.mp.prec = 1500
x = mp.mpf(2) / mp.pi
words = []
for _ in range(20):
    x *= mp.mpf(2) ** 64
    wd = int(mp.floor(x))
    words.append("0x%016x" % wd)
    x -= wd
print("/* 2/pi */\n  " + ", ".join(words))
mp.mp.prec = 400
p = mp.pi / 2
c1 = float(mp.mpf(struct.unpack("d", struct.pack("Q", struct.unpack("Q", struct.pack("d", float(p)))[0] & ~((1 << 0) - 1)))[0]))
c2 = float(p - mp.mpf(c1))
c3 = float(p - mp.mpf(c1) - mp.mpf(c2))
print("/* pi/2 in three doubles */", float.hex(c1), float.hex(c2), float.hex(c3))
l = mp.log(2)
h = struct.unpack("f", struct.pack("f", float(l)))[0]
h12 = struct.unpack("f", struct.pack("I", struct.unpack("I", struct.pack("f", h))[0] & 0xfffff000))[0]
print("/* ln 2 hi, lo */", float.hex(h12), float.hex(struct.unpack("f", struct.pack("f", float(l - mp.mpf(h12))))[0]))
hd = struct.unpack("d", struct.pack("Q", struct.unpack("Q", struct.pack("d", float(l)))[0] & ~((1 << 22) - 1)))[0]
print("/* ln 2 hi, lo, double */", float.hex(hd), float.hex(float(l - mp.mpf(hd))))
