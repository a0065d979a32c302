/** How the fake model server answers a chat. */
export interface Script {
  readonly tokens: number;
  /** Milliseconds between two tokens of a stream. Absent: as fast as they are taken. */
  readonly periodMs?: number;
}

/** Where it is told so. */
export const SCRIPT_PATH = '/script';
