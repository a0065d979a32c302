/**
 * Asks for many streams at once and measures their tokens, as a process: `node bench/load/streams.ts LOAD`, where the
 * load is JSON. Prints its figures as JSON.
 */
import { Collected, percentile } from '../figures.ts';
import { cpuMicros, residentMb, watchOtherCore } from '../machine.ts';
import { END_MARKS, openStream, type Protocol } from './clients.ts';
import { StampReader } from './stamps.ts';

export interface StreamLoad {
  readonly protocol: Protocol;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** At a time. */
  readonly streams: number;
  /** In each stream. */
  readonly tokens: number;
  /** Whether a stream that has ended is followed by another, until the measurement is over. */
  readonly repeat: boolean;
  /** The streams begin one after the other during the first part of this. */
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** The process whose CPU time and memory are measured. */
  readonly pid: number;
}

/** Of the time of measuring, but for the errors, which are of the whole run. */
export interface StreamFigures {
  readonly tokens: number;
  readonly seconds: number;
  readonly cpuMicros: number;
  readonly addedP50Ms: number;
  readonly addedP99Ms: number;
  /** The mean of the first and of the last quarter of the time, and the most. */
  readonly residentMb: { readonly first: number; readonly last: number; readonly peak: number };
  /** The share of the other core that was in use, from 0 to 1. */
  readonly otherCoreBusy: number;
  /** Streams that came to their end with every token. */
  readonly complete: number;
  /** Streams that did not, by what went wrong. */
  readonly errors: Readonly<Record<string, number>>;
}

const RAMP_SHARE = 0.4;
/** How long streams may still run after the measurement. */
const REST_MS = 30_000;
const STREAMS_PER_ADDRESS = 150;
/** As much of the end of an answer as may come in pieces. */
const MARK_WINDOW = 512;
const NOTHING = Buffer.alloc(0);

async function run(load: StreamLoad): Promise<StreamFigures> {
  const delays = new Collected();
  const errors: Record<string, number> = {};
  let tokens = 0;
  let complete = 0;
  let running = 0;
  let measuring = false;
  let over = false;
  let wake = () => {};

  const open = (index: number) => {
    running++;
    const reader = new StampReader();
    let last: Buffer = NOTHING;
    const localAddress = `127.0.0.${1 + Math.floor(index / STREAMS_PER_ADDRESS)}`;
    openStream(
      { ...load, localAddress },
      {
        onBytes(bytes) {
          const before = reader.count;
          const now = nanoseconds();
          reader.read(bytes, (sentAt) => {
            if (measuring) delays.add((now - sentAt) / 1e6);
          });
          if (measuring) tokens += reader.count - before;
          last = reader.count < load.tokens ? bytes : Buffer.concat([last.subarray(-MARK_WINDOW), bytes]);
        },
        onEnd(failure) {
          running--;
          const outcome = failure ?? judge(reader.count, load, last);
          if (outcome) errors[outcome] = (errors[outcome] ?? 0) + 1;
          else complete++;
          if (load.repeat && !over && !failure) open(index);
          else if (running === 0) wake();
        },
      },
    );
  };

  const rampMs = load.warmUpMs * RAMP_SHARE;
  for (let index = 0; index < load.streams; index++) setTimeout(open, (index / load.streams) * rampMs, index);
  await sleep(load.warmUpMs);

  const memory = [residentMb(load.pid)];
  const sampling = setInterval(() => memory.push(residentMb(load.pid)), 250);
  const start = { at: nanoseconds(), cpu: cpuMicros(load.pid) };
  const use = watchOtherCore();
  measuring = true;
  await sleep(load.measureMs);
  measuring = false;
  const seconds = (nanoseconds() - start.at) / 1e9;
  const spent = cpuMicros(load.pid) - start.cpu;
  const otherCoreBusy = use();
  clearInterval(sampling);
  memory.push(residentMb(load.pid));

  over = true;
  if (running > 0) await Promise.race([new Promise<void>((resolve) => (wake = resolve)), sleep(REST_MS)]);
  if (running > 0) errors['unfinished'] = running;
  const sorted = delays.sorted();
  return {
    tokens,
    seconds,
    cpuMicros: spent,
    addedP50Ms: percentile(sorted, 50),
    addedP99Ms: percentile(sorted, 99),
    residentMb: summarizeMemory(memory),
    otherCoreBusy,
    complete,
    errors,
  };
}

/** @returns what was wrong with a stream that has ended, if anything. */
function judge(count: number, { tokens, protocol }: StreamLoad, last: Buffer): string | undefined {
  const code = /"code":"(\w+)"/.exec(last.toString('latin1'))?.[1];
  if (code !== undefined) return `error ${code}`;
  if (count !== tokens) return count < tokens ? 'cut short' : 'too long';
  return last.includes(END_MARKS[protocol]) ? undefined : 'no end';
}

function summarizeMemory(samples: readonly number[]): StreamFigures['residentMb'] {
  const quarter = Math.ceil(samples.length / 4);
  const mean = (some: readonly number[]) => some.reduce((sum, one) => sum + one, 0) / some.length;
  return {
    first: mean(samples.slice(0, quarter)),
    last: mean(samples.slice(-quarter)),
    peak: Math.max(...samples),
  };
}

function nanoseconds(): number {
  const [seconds, rest] = process.hrtime();
  return seconds * 1e9 + rest;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

const figures = await run(JSON.parse(process.argv[2] ?? ''));
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
