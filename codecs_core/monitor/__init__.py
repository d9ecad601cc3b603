"""What others may watch while transfers run: metrics, a status, and word to systemd.

Rules of this package:

* Nothing here is on a packet's way. Channels count for themselves; whoever asks is answered from
  `Progress` snapshots, made when the question comes.
* `metrics` and `ledger` do no I/O. `endpoint` serves what they hold, `exposition` puts it into
  Prometheus' words; only this last one needs ``prometheus_client``.
"""
