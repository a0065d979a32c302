import { afterAll, beforeAll, describe } from '@jest/globals';
import { describeChat } from './chat-rules.ts';
import { describeRefusals } from './refusal-rules.ts';
import { describeEmbeddings, describeModelsAndCompletions } from './resource-rules.ts';
import { describeResponses } from './response-rules.ts';
import { openSession, type Session, type Subject } from './session.ts';
import { describeStreams } from './stream-rules.ts';
import { describeTools } from './tool-rules.ts';

/** What OpenAI's clients rely on, each rule with its id. The same for any server that claims to be compatible. */
export function describeConformance(name: string, start: () => Promise<Subject>): void {
  describe(`${name} speaks OpenAI's REST API`, () => {
    let opened: Session;
    beforeAll(async () => {
      opened = openSession(await start());
    });
    afterAll(() => opened.subject.close());

    const session = () => opened;
    describeChat(session);
    describeStreams(session);
    describeTools(session);
    describeResponses(session);
    describeEmbeddings(session);
    describeModelsAndCompletions(session);
    describeRefusals(session);
  });
}
