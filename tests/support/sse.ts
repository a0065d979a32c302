import type { StreamEncoder } from '../../src/rest/answer.ts';

/** What a reader of server-sent events sees, by the letter of the HTML standard. */
export interface ParsedEvents {
  /** The data of each event dispatched. */
  readonly data: readonly string[];
  readonly comments: readonly string[];
  /** Names of all fields but `data` that were seen. */
  readonly otherFields: readonly string[];
}

/** @param splitLines how this reader finds the ends of lines; the standard's way unless told. */
export function parseEvents(
  text: string,
  splitLines: (text: string) => string[] = (all) => all.split(/\r\n|\r|\n/),
): ParsedEvents {
  const data: string[] = [];
  const comments: string[] = [];
  const otherFields: string[] = [];
  let pending: string[] = [];
  for (const line of splitLines(text)) {
    if (line === '') {
      if (pending.length > 0) data.push(pending.join('\n'));
      pending = [];
    } else if (line.startsWith(':')) comments.push(line.slice(1).trim());
    else {
      const [field = '', ...rest] = line.split(':');
      if (field === 'data') pending.push(rest.join(':').replace(/^ /, ''));
      else otherFields.push(field);
    }
  }
  return { data, comments, otherFields };
}

/** The line ends of Python's `str.splitlines`, which readers built on it split at. */
export function splitLinesAsPython(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the line ends in question.
  return text.split(/\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]/);
}

/** The data of each event as it comes, parsed as JSON; those without data are left out. */
export async function* readEvents<T>(response: Response): AsyncGenerator<T, void, void> {
  let pending = '';
  for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const frames = (pending + text).split('\n\n');
    pending = frames.pop() ?? '';
    for (const data of frames.flatMap((frame) => parseEvents(`${frame}\n\n`).data)) {
      if (data !== '') yield JSON.parse(data);
    }
  }
}

/** The frames of many events. */
export function encodeAll<E>(encoder: Pick<StreamEncoder<E>, 'encode'>, events: readonly E[]): string {
  return events.map((event) => encoder.encode(event)).join('');
}
