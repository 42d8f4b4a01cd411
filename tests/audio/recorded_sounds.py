"""Sounds as phones and browsers record them, written by PyAV."""

import numpy as np


def recorded(path, codec, samples, rate=48_000, pictures=False, cover=False):
    """As a phone or a browser records. ``pictures``: it is a film; ``cover``: a still picture for players."""
    import av

    with av.open(str(path), "w", format="mp4" if cover else None) as file:
        if pictures:
            film = file.add_stream("libx264", rate=25)
            film.width = film.height = 64
        stream = file.add_stream(codec, rate=rate, layout="stereo" if samples.ndim == 2 else "mono")
        if pictures:
            for k in range(round(25 * len(samples) / rate)):
                file.mux(film.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), k, np.uint8), "rgb24")))
            file.mux(film.encode())
        planes = np.ascontiguousarray(samples.reshape(len(samples), -1).T.astype(np.float32))
        if cover:
            still = file.add_stream("mjpeg", rate=1)
            still.width = still.height = 64
            still.pix_fmt, still.disposition = "yuvj420p", av.stream.Disposition.attached_pic
            file.mux(still.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
            file.mux(still.encode())
        for start in range(0, planes.shape[1], 960):
            frame = av.AudioFrame.from_ndarray(planes[:, start : start + 960], "fltp", stream.layout.name)
            frame.rate, frame.pts = rate, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
