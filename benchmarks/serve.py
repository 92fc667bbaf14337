"""A server under load: streams side by side for a while, none of which may be lost.

    python -m benchmarks.serve [--streams 16] [--seconds 60] [--model embedded] [-np 4] [-t 2]

Every client asks, reads its stream to the end, and asks again. A stream counts as lost where it raises, or ends before
the tokens that were asked for. Wanted: 16 streams for a minute, none lost.
"""

import argparse
import json
import subprocess
import sys
import threading
import time

import openai

from benchmarks.harness import record

MAIN = "from pennyweight.cli.main import main; main()"
TOKENS = 48


def ask(client: openai.OpenAI, number: int, until: float, counts: list[int], lost: list[str]) -> None:
    """Ask until the time is over; count the tokens of streams that came whole, and keep the reasons of the others."""
    while time.monotonic() < until:
        try:
            stream = client.completions.create(
                model="any",
                prompt=f"In the year {1800 + number}, the keeper of the harbour",
                max_tokens=TOKENS,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"ignore_eos": True},
            )
            tokens = [part.usage.completion_tokens for part in stream if part.usage]
            if tokens[-1:] == [TOKENS]:
                counts.append(TOKENS)
            else:
                lost.append(f"{tokens} tokens instead of {TOKENS}")
        except Exception as error:  # noqa: BLE001 -- a stream that breaks raises the HTTP client's own errors too
            lost.append(repr(error))


def main() -> None:
    """Serve, ask, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("-np", type=int, default=4)
    parser.add_argument("-t", type=int, default=2)
    args = parser.parse_args()
    command = [sys.executable, "-c", MAIN, "serve", args.model, "--port", "0", "--json"]
    command += ["-c", str(512 * args.np), "-np", str(args.np), "-t", str(args.t)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the server did not start: exit {process.wait()}")
        said = json.loads(line)
        client = openai.OpenAI(base_url=f"{said['address']}/v1", api_key="none", max_retries=0, timeout=120)
        counts: list[int] = []
        lost: list[str] = []
        started = time.monotonic()
        until = started + args.seconds
        threads = [
            threading.Thread(target=ask, args=(client, n, until, counts, lost), daemon=True)
            for n in range(args.streams)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        process.terminate()
        code = process.wait(60)
    print(f"{len(counts)} streams whole, {len(lost)} lost, {sum(counts) / seconds:,.1f} tokens/s, exit {code}")
    for reason in lost[:5]:
        print(f"  lost: {reason}")
    figures = {"streams": args.streams, "seconds": seconds, "whole": len(counts), "lost": len(lost), "exit": code}
    record("serve", {**figures, "model": args.model, "slots": args.np, "tokens_per_second": sum(counts) / seconds})


if __name__ == "__main__":
    main()
