import { DEFAULT_MODELS } from '../../../simulator/models.ts';
import { startDeployment } from '../../support/deployment.ts';
import { describeConformance } from './suite.ts';

/** What follows the question tells the simulator, which knows no weather, what to do. */
const WEATHER_QUESTION =
  'What is the weather in Paris? [[sim:{"toolCalls":[{"name":"get_weather","arguments":{"city":"Paris"}}]}]]';

const CODER = { name: 'qwen2.5-coder:7b', capabilities: ['completion', 'insert'] } as const;

describeConformance('the whole server', async () => {
  const { url, createKey, close } = await startDeployment({
    simulator: { models: [...DEFAULT_MODELS, CODER, { name: 'acme/bot:1b' }] },
  });
  const { secret } = await createKey({
    limits: { requestsPerMinute: 100_000, tokensPerMinute: 100_000_000 },
  });
  const models = {
    chat: 'llama3.1:8b',
    embedding: 'nomic-embed-text:latest',
    insert: CODER.name,
    namespaced: 'acme/bot:1b',
  };
  return { url, key: secret, models, weatherQuestion: WEATHER_QUESTION, close };
});
