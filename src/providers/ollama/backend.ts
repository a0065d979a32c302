import type { Clock, LogFields, Telemetry } from '../../core/ports.ts';
import { type Abortable, Cancellation, forwardAbort } from '../../core/signal.ts';
import { Bag } from '../../domain/bag.ts';
import { GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Backend, Model } from '../../domain/model.ts';
import { decodeRunning, decodeShow, decodeTags, type ModelDetails } from './catalogue.ts';
import type { OllamaClient } from './client.ts';
import { abandoned, isConnectFailure, unexpectedAnswer } from './errors.ts';
import { isWireObject } from './wire.ts';

/** What one backend needs to be watched. */
export interface WatchOptions {
  readonly label: string;
  /** For probes alone, so that a backend whose connections are all in use can still be asked how it is. */
  readonly probes: OllamaClient;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly pollMs: number;
  readonly probeTimeoutMs: number;
  /** Shared by all backends. */
  readonly details: DetailsCache;
  /** Called when `seen` has changed. */
  readonly onChange: () => void;
}

/** What older servers tell about one model at a time, by digest. */
export type DetailsCache = Map<string, ModelDetails>;

const MAX_PROBE_BYTES = 8 * 1024 * 1024;
const MAX_CACHED_DETAILS = 1000;

/** The catalogue changes rarely and costs the backend more than the rest, so it is read on every fifth look. */
const LOOKS_PER_CATALOGUE = 5;

/**
 * One slow answer of a busy machine is not an outage; two in a row are treated as one, unless its answers to requests
 * have gone on meanwhile: a machine whose every core computes tokens may leave a look waiting for seconds.
 */
const MISSES_UNTIL_DOWN = 2;

/**
 * A backend that has not answered a look for this long is taken for frozen, and requests that wait for their answers to
 * begin are better off elsewhere. Longer than it takes to be down, as reading a long prompt can keep a machine from
 * answering anything else for a while, and giving up would throw that work away.
 */
const SILENT_UNTIL_ABANDONED_MS = 20_000;

/** The requests at a backend. */
class Visits {
  inFlight = 0;
  /** Those whose answers have not begun. */
  readonly waiting = new Bag<Cancellation>();
}

/** A request at a backend. */
export class Visit {
  readonly #visits: Visits;
  readonly #signal = new Cancellation();
  readonly #unlink: () => void;
  #isOver = false;

  constructor(visits: Visits, caller: Abortable) {
    this.#visits = visits;
    this.#unlink = forwardAbort(caller, this.#signal);
    visits.inFlight++;
    visits.waiting.add(this.#signal);
  }

  /** Ends the request: the caller's, and until its answer has begun the backend's as well. */
  get signal(): Abortable {
    return this.#signal;
  }

  /** Its answer has begun. */
  answered(): void {
    this.#visits.waiting.delete(this.#signal);
  }

  /** It is over. Calling it again does nothing. */
  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#visits.inFlight--;
    this.answered();
    this.#unlink();
  }
}

type State = Omit<Backend, 'id' | 'inFlight'>;

/** One backend, watched until stopped, independently of every other. The first look begins at once. */
export class WatchedBackend {
  readonly #options: WatchOptions;
  #state: State | undefined;
  #seen: Backend;
  readonly #visits = new Visits();
  #misses = 0;
  /** Since when every look has met with silence. */
  #silentSince: number | undefined;
  /** Something has come of a request since the last look. */
  #lively = false;
  #looks = 0;
  #stopped = false;
  #running: { readonly full: boolean; readonly done: Promise<void> } | undefined;
  #cancelTimer = () => {};

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#seen = this.#snapshot();
    void this.#watch();
  }

  /** As of the last look, but for `inFlight`, which is live. */
  get seen(): Backend {
    return this.#seen;
  }

  /** Looks now, at the catalogue too. Never rejects. */
  look(): Promise<void> {
    return this.#look(true);
  }

  /** Counts a request as in flight. */
  enter(signal: Abortable): Visit {
    return new Visit(this.#visits, signal);
  }

  /** Takes note that an answer goes on. Cheap: it is told of every read. */
  noteLife(): void {
    this.#lively = true;
  }

  /** Takes note of how a request failed: where nobody was there, nobody else needs to try before the next look. */
  noteFailure(error: unknown): void {
    const failure = toGatewayError(error);
    if (isConnectFailure(failure)) this.#becomeDown(failure);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
  }

  async #watch(): Promise<void> {
    await this.#look(this.#looks++ % LOOKS_PER_CATALOGUE === 0 || !this.#seen.healthy);
    if (!this.#stopped) {
      this.#cancelTimer = this.#options.clock.after(this.#options.pollMs, () => void this.#watch());
    }
  }

  async #look(full: boolean): Promise<void> {
    if (this.#stopped) return;
    if (this.#running && (this.#running.full || !full)) return this.#running.done;
    const before = this.#running?.done ?? Promise.resolve();
    const mine = { full, done: before.then(() => this.#lookOnce(full)) };
    this.#running = mine;
    await mine.done;
    if (this.#running === mine) this.#running = undefined;
  }

  async #lookOnce(full: boolean): Promise<void> {
    this.#lively = false;
    try {
      const next = await probe(this.#options, this.#seen, full);
      this.#misses = 0;
      this.#silentSince = undefined;
      this.#become(next);
    } catch (thrown) {
      const error = toGatewayError(thrown);
      this.#misses = this.#lively ? 0 : this.#misses + 1;
      if (isConnectFailure(error) || this.#misses >= MISSES_UNTIL_DOWN || !this.#state)
        this.#becomeDown(error);
      this.#noteSilence(error);
    }
  }

  /** Gives up what waits for a backend that says nothing. One that answers wrongly is there, and may answer others. */
  #noteSilence(error: GatewayError): void {
    const { clock, label } = this.#options;
    const isSilent = !this.#lively && (error.code === 'upstream_timeout' || isConnectFailure(error));
    if (!isSilent) {
      this.#silentSince = undefined;
      return;
    }
    this.#silentSince ??= clock.now();
    if (clock.now() - this.#silentSince < SILENT_UNTIL_ABANDONED_MS) return;
    for (const waiting of this.#visits.waiting) waiting.abort(abandoned(label));
  }

  /** Its last known models stay, so that a model that is away can be told from one that never was. */
  #becomeDown(reason: GatewayError): void {
    if (this.#state?.healthy === false) return;
    this.#become({ healthy: false, models: this.#seen.models, loaded: new Set() }, reason);
  }

  #become(next: State, reason?: GatewayError): void {
    if (this.#stopped) return;
    if (this.#state?.healthy !== next.healthy) logChange(this.#options, next, reason);
    this.#state = next;
    this.#seen = this.#snapshot();
    this.#options.onChange();
  }

  #snapshot(): Backend {
    const { healthy = false, models = new Map(), loaded = new Set<string>() } = this.#state ?? {};
    const visits = this.#visits;
    return {
      id: this.#options.label,
      healthy,
      models,
      loaded,
      get inFlight() {
        return visits.inFlight;
      },
    };
  }
}

function logChange({ telemetry, label }: WatchOptions, next: State, reason: GatewayError | undefined): void {
  const fields: LogFields = { backend: label, models: next.models.size };
  if (next.healthy) telemetry.log('info', 'a backend is up', fields);
  else telemetry.log('warn', 'a backend is down', { ...fields, code: reason?.code, detail: reason?.detail });
}

/** @throws where the backend does not say its version in time, which is what counts as being there. */
async function probe(options: WatchOptions, last: Backend, full: boolean): Promise<State> {
  const ask = (path: `/api/${string}`) => askInTime(options, path);
  const [version, running, tags] = await Promise.allSettled([
    ask('/api/version'),
    ask('/api/ps').then(decodeRunning),
    full ? ask('/api/tags').then((answer) => listModels(options, answer)) : last.models,
  ]);
  if (version.status === 'rejected') throw version.reason;
  if (!isWireObject(version.value)) throw unexpectedAnswer('a version that is not one', options.label);
  return {
    healthy: true,
    loaded: running.status === 'fulfilled' ? running.value : last.loaded,
    models: tags.status === 'fulfilled' ? tags.value : last.models,
  };
}

async function askInTime(options: WatchOptions, path: `/api/${string}`, body?: string): Promise<unknown> {
  const { label } = options;
  const cancellation = new Cancellation();
  const cancelTimer = options.clock.after(options.probeTimeoutMs, () =>
    cancellation.abort(
      new GatewayError('upstream_timeout', 'The model server does not answer.', {
        detail: `${label}: ${path}`,
      }),
    ),
  );
  try {
    const call = body === undefined ? { path } : { path, body };
    return await options.probes.json(call, cancellation, MAX_PROBE_BYTES);
  } finally {
    cancelTimer();
  }
}

async function listModels(options: WatchOptions, answer: unknown): Promise<ReadonlyMap<string, Model>> {
  const models = new Map<string, Model>();
  for (const { model, complete } of decodeTags(answer)) {
    models.set(model.id, complete ? model : { ...model, ...(await showModel(options, model)) });
  }
  return models;
}

/** Capabilities and sizes of a model that its listing lacks. A model that cannot be shown is listed without them. */
async function showModel(options: WatchOptions, { id, digest }: Model): Promise<ModelDetails | undefined> {
  const { details } = options;
  const cached = digest === undefined ? undefined : details.get(digest);
  if (cached) return cached;
  try {
    const shown = decodeShow(await askInTime(options, '/api/show', JSON.stringify({ model: id })));
    if (details.size >= MAX_CACHED_DETAILS) details.clear();
    if (digest !== undefined) details.set(digest, shown);
    return shown;
  } catch {
    return undefined;
  }
}
