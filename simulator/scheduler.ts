import type { InstalledModel } from './models.ts';
import type { Counters, Phase } from './stats.ts';
import { ApiError } from './wire.ts';

export interface SchedulerOptions {
  /** Requests that one model works on at a time. Models that embed always take one. */
  readonly parallel: number;
  /** Requests that may wait for a load. Behind a loaded model the queue has no end. */
  readonly maxQueue: number;
  /** Models in memory at a time. */
  readonly maxLoaded: number;
  readonly keepAliveMs: number;
}

/** What a request asks of the scheduler. */
export interface Wish {
  readonly model: InstalledModel;
  /** Two requests whose launches differ cannot share a loaded model: it is loaded again. */
  readonly launch: string;
  readonly contextLength: number;
  readonly loadMs: number;
  /** Absent: the setting stays. 0: unload afterwards. Infinity: never unload. */
  readonly keepAliveMs?: number;
}

/** One of a model's slots. Whoever has it gives it back once; further calls do nothing. */
export interface Lease {
  readonly contextLength: number;
  release(): void;
}

/** A model in memory. */
interface Runner {
  readonly model: InstalledModel;
  readonly launch: string;
  readonly contextLength: number;
  readonly slots: number;
  readonly waiting: Claim[];
  running: number;
  keepAliveMs: number;
  /** Set: it takes no more requests and is unloaded when the last one ends. */
  leaving: boolean;
  expiresAt: number;
  expiry: NodeJS.Timeout | undefined;
}

interface Claim extends Wish {
  phase: Phase | undefined;
  runner: Runner | undefined;
  readonly grant: (lease: Lease) => void;
}

const SINGLE_SLOT_FAMILIES = /^(mllama|qwen3vl|qwen35|qwen3next|lfm2|nemotron_h)/;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** As far as a Go duration reaches, which is what "forever" is on the wire. */
const FOREVER_MS = 9_223_372_036_854;

/**
 * Who gets which model when. A loaded model has slots and an endless queue behind them; everything that needs a load
 * goes through one bounded queue, one load at a time.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #counters: Counters;
  readonly #runners = new Map<string, Runner>();
  readonly #pending: Claim[] = [];
  /** The head of the pending queue, taken out of it: waiting for room, or being loaded. */
  #placing: Claim | undefined;
  #load: NodeJS.Timeout | undefined;

  constructor(options: SchedulerOptions, counters: Counters) {
    this.#options = options;
    this.#counters = counters;
  }

  /**
   * @param signal leaves the queue, or stops the load, at once. Once the lease is granted it has no effect.
   * @throws ApiError 503 where too many requests wait for a load; the signal's reason where it aborts.
   */
  acquire(wish: Wish, signal: AbortSignal): Promise<Lease> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const claim: Claim = { ...wish, phase: undefined, runner: undefined, grant: resolve };
      signal.addEventListener(
        'abort',
        () => {
          this.#abandon(claim);
          reject(signal.reason as Error);
        },
        { once: true },
      );
      const runner = this.#runners.get(wish.model.name);
      if (runner !== undefined && this.#fits(claim, runner)) return this.#attach(claim, runner);
      if (this.#pending.length >= this.#options.maxQueue) {
        return reject(new ApiError(503, 'server busy, please try again.  maximum pending requests exceeded'));
      }
      this.#setPhase(claim, 'queued');
      this.#pending.push(claim);
      this.#advance();
    });
  }

  /** Unloads a model as soon as nobody uses it. */
  expire(name: string): void {
    const runner = this.#runners.get(name);
    if (runner === undefined) return;
    runner.leaving = true;
    this.#settle(runner);
  }

  expireAll(): void {
    for (const name of [...this.#runners.keys()]) this.expire(name);
  }

  /** The models in memory, longest-lived first. */
  loaded() {
    const now = Date.now();
    return [...this.#runners.values()]
      .map((runner) => ({
        model: runner.model,
        contextLength: runner.contextLength,
        expiresAt: isBusy(runner) ? now + Math.min(runner.keepAliveMs, FOREVER_MS) : runner.expiresAt,
      }))
      .sort((a, b) => b.expiresAt - a.expiresAt);
  }

  #fits(claim: Claim, runner: Runner): boolean {
    return !runner.leaving && runner.launch === claim.launch;
  }

  /** Places pending requests until one of them has to wait. */
  #advance(): void {
    while (this.#placing === undefined) {
      const claim = this.#pending.shift();
      if (claim === undefined) return;
      this.#placing = claim;
      this.#place(claim);
    }
  }

  #place(claim: Claim): void {
    const runner = this.#runners.get(claim.model.name);
    if (runner !== undefined && this.#fits(claim, runner)) {
      this.#placing = undefined;
      this.#attach(claim, runner);
      return;
    }
    const inTheWay = runner ?? (this.#runners.size >= this.#options.maxLoaded ? this.#victim() : undefined);
    if (inTheWay !== undefined) {
      inTheWay.leaving = true;
      // A busy one calls back here when its last request ends.
      if (isBusy(inTheWay)) return;
      this.#unload(inTheWay);
    }
    this.#setPhase(claim, 'loading');
    if (claim.loadMs === 0) {
      this.#finishLoad(claim);
      return;
    }
    this.#load = setTimeout(() => {
      this.#finishLoad(claim);
      this.#advance();
    }, claim.loadMs);
  }

  #finishLoad(claim: Claim): void {
    this.#load = undefined;
    this.#placing = undefined;
    const single =
      claim.model.capabilities.includes('embedding') || SINGLE_SLOT_FAMILIES.test(claim.model.family);
    const runner: Runner = {
      model: claim.model,
      launch: claim.launch,
      contextLength: claim.contextLength,
      slots: single ? 1 : this.#options.parallel,
      waiting: [],
      running: 0,
      keepAliveMs: this.#options.keepAliveMs,
      leaving: false,
      expiresAt: 0,
      expiry: undefined,
    };
    this.#runners.set(claim.model.name, runner);
    this.#attach(claim, runner);
  }

  /** The idle model that would leave first; where all are busy, the one that would leave first of them. */
  #victim(): Runner | undefined {
    const byLife = [...this.#runners.values()].sort((a, b) => a.expiresAt - b.expiresAt);
    return byLife.find((runner) => !isBusy(runner)) ?? byLife[0];
  }

  #attach(claim: Claim, runner: Runner): void {
    clearTimeout(runner.expiry);
    runner.expiry = undefined;
    if (claim.keepAliveMs !== undefined) runner.keepAliveMs = claim.keepAliveMs;
    claim.runner = runner;
    if (runner.running < runner.slots) {
      this.#grant(claim, runner);
    } else {
      this.#setPhase(claim, 'queued');
      runner.waiting.push(claim);
    }
  }

  #grant(claim: Claim, runner: Runner): void {
    runner.running++;
    this.#setPhase(claim, 'inFlight');
    claim.grant({
      contextLength: runner.contextLength,
      release: () => {
        if (claim.phase === undefined) return;
        this.#setPhase(claim, undefined);
        runner.running--;
        const next = runner.waiting.shift();
        if (next !== undefined) this.#grant(next, runner);
        this.#settle(runner);
      },
    });
  }

  /** The client of a request that has no slot yet is gone. */
  #abandon(claim: Claim): void {
    if (claim.phase === undefined || claim.phase === 'inFlight') return;
    this.#setPhase(claim, undefined);
    if (this.#placing === claim) {
      clearTimeout(this.#load);
      this.#load = undefined;
      this.#placing = undefined;
      this.#advance();
      return;
    }
    const queue = claim.runner?.waiting ?? this.#pending;
    queue.splice(queue.indexOf(claim), 1);
    if (claim.runner !== undefined) this.#settle(claim.runner);
  }

  /** Starts the life of a model that nobody uses any more, or ends it. */
  #settle(runner: Runner): void {
    if (isBusy(runner)) return;
    clearTimeout(runner.expiry);
    if (runner.leaving || runner.keepAliveMs === 0) {
      this.#unload(runner);
      if (this.#placing !== undefined && this.#load === undefined) {
        this.#place(this.#placing);
        this.#advance();
      }
      return;
    }
    runner.expiresAt = Date.now() + Math.min(runner.keepAliveMs, FOREVER_MS);
    if (runner.keepAliveMs > LONGEST_TIMER_MS) return;
    runner.expiry = setTimeout(() => this.expire(runner.model.name), runner.keepAliveMs);
    runner.expiry.unref();
  }

  #unload(runner: Runner): void {
    clearTimeout(runner.expiry);
    if (this.#runners.get(runner.model.name) === runner) this.#runners.delete(runner.model.name);
  }

  #setPhase(claim: Claim, phase: Phase | undefined): void {
    this.#counters.move(claim.phase, phase);
    claim.phase = phase;
  }
}

function isBusy(runner: Runner): boolean {
  return runner.running > 0 || runner.waiting.length > 0;
}
