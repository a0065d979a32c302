import { randomUUID } from 'node:crypto';
import type { Signal, Signals } from '../core/ports.ts';
import { connectForMessages } from './connection.ts';

type Listener = Parameters<Signals['subscribe']>[0];

export interface ClosableSignals extends Signals {
  /** Ends it, after what was published has left, or cannot leave. */
  close(): Promise<void>;
}

export interface SharedSignals extends ClosableSignals {
  /**
   * To be called when Redis is back: connects again, which tells the listeners of this process that signals may be
   * missing. Where the address leads to another server now, the old one may be there still, and passes on to nobody.
   */
  reconnect(): void;
}

/** Signals for a single process. */
export function createLocalSignals(): ClosableSignals {
  const listeners = new Set<Listener>();
  return {
    publish: (signal) => tell(listeners, signal),
    subscribe: (listener) => subscribe(listeners, listener),
    close: async () => listeners.clear(),
  };
}

/** How often a quiet subscription is asked whether it is still there. */
const PING_EVERY_MS = 5000;
/** What was published while Redis is away and is sent when it is back. More than these, and everybody is told `lost`. */
const MAX_UNSENT = 1000;
const CLOSE_WITHIN_MS = 1000;
const RETRY_MS = 20;

/**
 * Signals through Redis. This process hears its own at once; the others when Redis delivers them. After every
 * interruption, listeners are told `lost` as soon as nothing can be missed any more.
 * @param listening false for a process that only publishes, such as a command line.
 */
export function openSignals(options: {
  readonly url: string;
  readonly prefix?: string;
  readonly listening?: boolean;
}): SharedSignals {
  const { url, prefix = 'llmgw', listening = true } = options;
  const channel = `${prefix}:signals`;
  const origin = randomUUID();
  const listeners = new Set<Listener>();
  const publisher = connectForMessages(url);
  const subscriber = listening ? listen(url, channel, origin, listeners) : undefined;

  const unsent = new Set<string>();
  const sending = new Set<Promise<unknown>>();
  const send = (message: string) => {
    const sent = publisher.publish(channel, message).then(
      () => unsent.delete(message),
      () => {
        if (unsent.size < MAX_UNSENT) unsent.add(message);
        else unsent.add(encode(origin, { type: 'lost' }));
      },
    );
    sending.add(sent);
    void sent.finally(() => sending.delete(sent));
    return sent;
  };
  const sendAgain = () => Promise.all([...unsent].map(send));
  publisher.on('ready', () => void sendAgain());

  const drain = async (signal: AbortSignal) => {
    while (!signal.aborted && (sending.size > 0 || unsent.size > 0)) {
      await Promise.all(sending);
      if (unsent.size === 0) return;
      await sleep(RETRY_MS);
      if (publisher.status === 'ready') await sendAgain();
    }
  };

  return {
    publish(signal) {
      tell(listeners, signal);
      void send(encode(origin, signal));
    },
    subscribe: (listener) => subscribe(listeners, listener),
    reconnect() {
      publisher.disconnect(true);
      subscriber?.reconnect();
    },
    async close() {
      await drain(AbortSignal.timeout(CLOSE_WITHIN_MS));
      publisher.disconnect();
      subscriber?.close();
      listeners.clear();
    },
  };
}

function listen(url: string, channel: string, origin: string, listeners: ReadonlySet<Listener>) {
  const redis = connectForMessages(url);
  let wasReady = false;
  redis.on('ready', () => {
    redis.subscribe(channel).then(
      () => {
        if (wasReady) tell(listeners, { type: 'lost' });
        wasReady = true;
      },
      () => redis.disconnect(true),
    );
  });
  redis.on('message', (_channel: string, message: string) => {
    const signal = decode(message, origin);
    if (signal) tell(listeners, signal);
  });
  const pings = setInterval(() => {
    if (redis.status === 'ready') redis.ping().catch(() => redis.disconnect(true));
  }, PING_EVERY_MS).unref();
  return {
    reconnect: () => redis.disconnect(true),
    close() {
      clearInterval(pings);
      redis.disconnect();
    },
  };
}

type Message = Signal | { readonly type: 'lost' };

function encode(origin: string, message: Message): string {
  return JSON.stringify({ origin, ...message });
}

/** @returns undefined for this process's own messages, which it has heard, and for what is none of ours. */
function decode(text: string, origin: string): Message | undefined {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof message !== 'object' || message === null) return undefined;
  const { type, keyId, origin: from } = message as Record<string, unknown>;
  if (from === origin) return undefined;
  if (type === 'lost') return { type };
  return type === 'keyChanged' && typeof keyId === 'string' ? { type, keyId } : undefined;
}

function tell(listeners: ReadonlySet<Listener>, message: Message): void {
  for (const listener of listeners) listener(message);
}

function subscribe(listeners: Set<Listener>, listener: Listener): () => void {
  // Wrapped, so that one function subscribed twice is two subscriptions.
  const own: Listener = (signal) => listener(signal);
  listeners.add(own);
  return () => listeners.delete(own);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
