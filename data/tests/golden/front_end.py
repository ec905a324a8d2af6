"""Writes front_end.csv: log-mel bands and MFCC of a clip that a formula makes, as librosa computes them.

python 3.11.7, librosa 0.11.0, numpy 2.4.6, scipy 1.17.1; `python front_end.py > front_end.csv`.
"""

import librosa
import numpy as np

RATE, WINDOW, HOP, POINTS = 16_000, 480, 320, 512

# Two chirps and a tone, 16 bits, and silence after 0.9 s; `tests/it/front_end.rs` has the same formula.
t = np.arange(RATE) / RATE
clip = (
    0.4 * np.sin(2 * np.pi * (100 * t + 900 * t * t))
    + 0.3 * np.sin(2 * np.pi * (3000 * t - 1000 * t * t))
    + 0.05 * np.sin(2 * np.pi * 440 * t)
)
samples = np.where(t < 0.9, np.round(32767 * clip), 0).astype(np.int16)

# librosa puts a short window into the middle of the transform's points; ours stands at their start. Zeros before the
# clip make the frames the same, and where a frame stands in its transform does not change its power.
before = (POINTS - WINDOW) // 2
padded = np.pad(samples / 32768.0, (before, POINTS))
spectrum = librosa.stft(
    padded, n_fft=POINTS, hop_length=HOP, win_length=WINDOW, window="hann", center=False, dtype=np.complex128
)
frames = 1 + (RATE - WINDOW) // HOP
power = np.abs(spectrum[:, :frames]) ** 2
filters = librosa.filters.mel(
    sr=RATE, n_fft=POINTS, n_mels=40, fmin=20, fmax=4000, htk=True, norm=None, dtype=np.float64
)
bands = np.log(filters @ power + 1e-6)
cepstrum = librosa.feature.mfcc(S=bands, n_mfcc=10, dct_type=2, norm="ortho")

for kind, features in [("log-mel", bands), ("mfcc", cepstrum)]:
    for frame in range(0, frames, 8):
        print(kind, frame, *(f"{value:.5f}" for value in features[:, frame]), sep=",")
