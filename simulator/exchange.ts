import type { IncomingMessage, ServerResponse } from 'node:http';
import { encodeJson } from './wire.ts';

/** Thrown into whatever an exchange awaits when its connection is gone. */
export class ConnectionGone extends Error {
  constructor() {
    super('the connection is gone');
    this.name = 'ConnectionGone';
  }
}

/** A gate that holds everybody while it is shut. */
export class Gate {
  #opened: PromiseWithResolvers<void> | undefined;

  /** Undefined while it is open, so that passing costs nothing. */
  get shut(): Promise<void> | undefined {
    return this.#opened?.promise;
  }

  close(): void {
    this.#opened ??= Promise.withResolvers<void>();
  }

  open(): void {
    this.#opened?.resolve();
    this.#opened = undefined;
  }
}

/** One request and its answer. Every wait in it ends at once when the connection does. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly #gate: Gate;
  readonly #controller = new AbortController();
  /** Ends the wait that is going on, if there is one: a stream waits for one thing at a time. */
  #interrupt: ((gone: ConnectionGone) => void) | undefined;
  /** The answer is one to be streamed, so that an error before its first line has a type without a charset. */
  isStream = false;
  /** The simulator ended this exchange itself, as its script says. */
  cutByScript = false;

  constructor(request: IncomingMessage, response: ServerResponse, gate: Gate) {
    this.request = request;
    this.response = response;
    this.#gate = gate;
    // Writing to a connection that has just gone is no failure of the process.
    response.on('error', () => undefined);
    response.once('close', () => {
      if (response.writableFinished) return;
      const gone = new ConnectionGone();
      this.#controller.abort(gone);
      this.#interrupt?.(gone);
    });
  }

  /** Aborts, with a ConnectionGone, when the connection closes before the answer is written. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  pause(ms: number): Promise<void> {
    return this.#wait((resolve) => {
      const timer = setTimeout(resolve, ms);
      return () => clearTimeout(timer);
    });
  }

  /** Waits until the connection is gone, and then throws. */
  hang(): Promise<void> {
    return this.#wait(() => () => undefined);
  }

  /** Undefined, so that there is nothing to await, where the reader keeps up and the server is not frozen. */
  write(chunk: string | Uint8Array): Promise<void> | undefined {
    if (this.#gate.shut !== undefined) return this.passGate().then(() => this.write(chunk));
    if (this.signal.aborted) throw this.signal.reason;
    if (this.response.write(chunk)) return undefined;
    return this.#wait((resolve) => {
      this.response.once('drain', resolve);
      return () => this.response.off('drain', resolve);
    });
  }

  async passGate(): Promise<void> {
    while (this.#gate.shut !== undefined) {
      const { shut } = this.#gate;
      await this.#wait((resolve) => {
        void shut.then(resolve);
        return () => undefined;
      });
    }
  }

  /** A whole answer. */
  async send(status: number, contentType: string, body: string): Promise<void> {
    await this.passGate();
    if (this.signal.aborted) throw this.signal.reason;
    this.response.writeHead(status, {
      'Content-Type': contentType,
      'Content-Length': Buffer.byteLength(body),
    });
    this.response.end(body);
  }

  sendJson(status: number, value: unknown): Promise<void> {
    return this.send(status, 'application/json; charset=utf-8', encodeJson(value));
  }

  /** Closes the connection with a TCP reset, after what was written has left. */
  async reset(): Promise<void> {
    this.cutByScript = true;
    const { socket } = this.response;
    // A reset overtakes bytes that are still in the process, so they are given a turn to leave.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (socket !== null && socket.writableLength > 0) {
      await new Promise<void>((resolve) => socket.write('', () => resolve()));
    }
    socket?.resetAndDestroy();
  }

  #wait(start: (resolve: () => void) => () => void): Promise<void> {
    if (this.signal.aborted) return Promise.reject(this.signal.reason as Error);
    return new Promise((resolve, reject) => {
      const stop = start(() => {
        this.#interrupt = undefined;
        resolve();
      });
      this.#interrupt = (gone) => {
        stop();
        reject(gone);
      };
    });
  }
}
