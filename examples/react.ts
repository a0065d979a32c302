/** An answer as it is made, in React. The store knows nothing of React, so it can be tested and used without. */
import type { Client } from 'graphql-ws';
import { useSyncExternalStore } from 'react';
import type { ChatCompletionInput } from './generated/graphql.ts';
import { streamAnswer } from './plain.ts';

export interface AnswerState {
  readonly status: 'idle' | 'running' | 'finished' | 'stopped' | 'failed';
  readonly text: string;
  /** Why there is no whole answer, for people. */
  readonly message?: string;
}

export interface AnswerStore {
  /** Asks. An answer that is still under way is stopped. */
  ask(input: ChatCompletionInput): Promise<void>;
  /** Stops the answer, and the model with it. What has come of it stays. */
  stop(): void;
  readonly getState: () => AnswerState;
  readonly subscribe: (onChange: () => void) => () => void;
}

/** Make one for each place of the page that shows an answer, outside of its component or in its `useState`. */
export function createAnswerStore(client: Client): AnswerStore {
  const listeners = new Set<() => void>();
  let state: AnswerState = { status: 'idle', text: '' };
  let running: AbortController | undefined;
  const set = (next: AnswerState) => {
    state = next;
    for (const listener of listeners) listener();
  };

  return {
    async ask(input) {
      running?.abort();
      const current = new AbortController();
      running = current;
      const isCurrent = () => running === current;
      set({ status: 'running', text: '' });
      try {
        const end = await streamAnswer(
          client,
          input,
          (text) => isCurrent() && set({ ...state, text: state.text + text }),
          current.signal,
        );
        if (!isCurrent()) return;
        if (end?.__typename === 'ChatFailed') {
          set({ ...state, status: 'failed', message: end.error.message });
        } else set({ ...state, status: end ? 'finished' : 'stopped' });
      } catch {
        // Nothing but the connection fails here. The text so far is all there will be of this answer.
        if (isCurrent()) set({ ...state, status: 'failed', message: 'The connection was lost. Ask again.' });
      }
    },
    stop: () => running?.abort(),
    getState: () => state,
    subscribe(onChange) {
      listeners.add(onChange);
      return () => void listeners.delete(onChange);
    },
  };
}

/** The state of an answer, in a component that is rendered again whenever it changes. */
export function useAnswer(store: AnswerStore): AnswerState {
  return useSyncExternalStore(store.subscribe, store.getState, store.getState);
}
