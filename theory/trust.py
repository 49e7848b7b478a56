"""Facts that claims rest on and that are not proved here.  This file is the whole of them; a claim names those that it needs."""

from __future__ import annotations

from .claim import Fact

L2 = Fact(
    "L2",
    "square-integrable random vectors with E<u,v> form an inner-product space, constants among them",
    "Kallenberg, Foundations of Modern Probability, ch. 1",
)
MCDIARMID = Fact(
    "McDiarmid",
    "a function of independent variables that moves by at most c_i when variable i alone changes satisfies "
    "P(|f - E f| >= e) <= 2 exp(-2 e^2 / sum c_i^2) for e >= 0",
    "McDiarmid, On the method of bounded differences, 1989, Lemma 1.2",
)
SPECTRAL = Fact(
    "spectral",
    "a real symmetric matrix has an orthonormal eigenbasis; so |R|^2 is the largest eigenvalue of R R', and the "
    "eigenvalues of Q1 Q2 Q1 are the squared cosines of the principal angles, and zeros",
    "Horn and Johnson, Matrix Analysis, 4.1 and 7.3",
)
TAYLOR = Fact(
    "Taylor",
    "Taylor's theorem with the remainder at an intermediate point",
    "Rudin, Principles of Mathematical Analysis, 5.15",
)
TAYLOR_OF_LOG_SUM_EXP = Fact(
    "Taylor",
    "f(1) = f(0) + f'(0) + f''(x)/2 for some x in [0, 1] if f is twice continuously differentiable; the derivatives of "
    "log sum exp along a line are the mean and the variance of the slopes under the softmax",
    "Rudin, Principles of Mathematical Analysis, 5.15",
)
TAYLOR_OF_CLIP_LOSS = Fact(
    "Taylor",
    "f(1) = f(0) + f'(0) + f''(x)/2 and f(1) = f(0) + f'(x) for some x in [0, 1] if f is twice continuously differentiable; the "
    "derivatives of log sum exp along a line are the mean and the variance of the slopes under the softmax; (e^y - 1 - y)/y^2, the integral "
    "of (1 - s) e^{sy} over s in [0, 1], increases with y",
    "Rudin, Principles of Mathematical Analysis, 5.15 and 6.20",
)
TAYLOR_OF_SECOND_DIFFERENCE = Fact(
    "Taylor",
    "the second difference f(1,1) - f(1,0) - f(0,1) + f(0,0) of a twice continuously differentiable f is its mixed derivative somewhere on the "
    "unit square, for f the value along image less baseline and text less baseline",
    "Rudin, Principles of Mathematical Analysis, 9.40",
)
TAYLOR_OF_SOFTMAX = Fact(
    "Taylor",
    "f(1) = f(0) + f'(x) for some x in [0, 1] if f is differentiable, for f the softmax along a line in a fixed direction; "
    "its derivative is the covariance of the two directions under the softmax",
    "Rudin, Principles of Mathematical Analysis, 5.10 and 5.15",
)
TAYLOR_TWICE_OF_SOFTMAX = Fact(
    "Taylor",
    "f(1) = f(0) + f'(0) + f''(x)/2 for some x in [0, 1] if f is twice continuously differentiable, for f the softmax along a line in a fixed direction; "
    "with b the line's slopes and mu their mean under the softmax, its derivative is the covariance of direction and b under the softmax, its "
    "second one that of direction and (b - mu)^2",
    "Rudin, Principles of Mathematical Analysis, 5.15",
)
WISHART = Fact(
    "Wishart",
    "for n x P independent standard Gaussian features, n < P - 1, the row-space projector is orthogonally invariant, so E[Q] = (n/P) I and, for symmetric A, "
    "E[QAQ] is a combination of A and tr(A) I; E[(v'Qv)^2] = n(n+2)/(P(P+2)) for a unit v, and the trace of the expected inverse Gram "
    "matrix is n/(P - n - 1)",
    "Muirhead, Aspects of Multivariate Statistical Theory, ch. 3",
)
