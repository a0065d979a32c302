import { model as modelBody, modelList } from '../../../src/rest/openai/response-schema.ts';
import { findMismatch, runSome } from '../answers.ts';
import { type Check, expectedReplicas, failed, judge } from '../check.ts';

/** Whether there are models, the same ones whoever answers, and one among them that can chat. */
export const models: Check = {
  name: 'models',
  lookAt:
    'OLLAMA_URLS, whether the Ollama servers run (docker compose ps) and which models they have (ollama list)',
  needsKey: true,
  async run(context) {
    const { client, options, found } = context;
    const lists: string[] = [];
    let chatting: readonly string[] = [];
    for (const answer of await runSome(2 * expectedReplicas(context), () => client.ask('/v1/models'))) {
      const mismatch = findMismatch(answer, 200, modelList);
      if (mismatch) return failed(mismatch);
      const { data } = modelList.parse(answer.json);
      lists.push(data.map(({ id }) => id).join(', '));
      // A server that tells no capabilities is given the benefit of the doubt, as the gateway does.
      const canChat = ({ capabilities }: (typeof data)[number]) =>
        capabilities.length === 0 || capabilities.includes('completion');
      chatting = data.filter(canChat).map(({ id }) => id);
    }
    const list = lists[0] ?? '';
    if (list === '') return failed('there is no model');
    if (new Set(lists).size > 1)
      return failed(`replicas list different models: ${[...new Set(lists)].join(' or ')}`);
    const model = options.model ?? chatting[0];
    if (model === undefined) return failed(`no model can chat: ${list}`);
    found.model = model;
    const one = await client.ask(`/v1/models/${encodeURIComponent(model)}`);
    const mismatch = findMismatch(one, 200, modelBody);
    return judge(mismatch ? [`${model}: ${mismatch}`] : [], `${list}; ${model} is asked`);
  },
};
