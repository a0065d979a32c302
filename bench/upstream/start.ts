import { join } from 'node:path';
import { freeUrl, startBeside, untilAnswers } from '../machine.ts';
import { SCRIPT_PATH, type Script } from './script.ts';

export interface Upstream {
  readonly url: string;
  /** From now on chats are answered like this. No stream may be under way. */
  play(script: Script): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the fake model server on the core that is not measured. */
export async function startUpstream(): Promise<Upstream> {
  const { port, url } = await freeUrl();
  const server = await startBeside(join(import.meta.dirname, 'main.ts'), [String(port)]);
  await untilAnswers(`${url}/api/version`, server);
  return {
    url,
    async play(script) {
      const answer = await fetch(url + SCRIPT_PATH, { method: 'POST', body: JSON.stringify(script) });
      if (!answer.ok) throw new Error(`the model server refuses its script with status ${answer.status}`);
      await answer.arrayBuffer();
    },
    stop: () => server.stop(),
  };
}
