/** What stands between the load and the fake model server. */
export interface Contender {
  readonly name: string;
  /** What it is and what it does to a request, for the report. */
  readonly about: string;
  /** Whether it is a gateway of this project, which has more to measure than others. */
  readonly own: boolean;
  /** Whatever takes long and is done once, before anything is measured. */
  prepare?(): Promise<void>;
  start(site: Site): Promise<Running>;
}

/** What every contender finds on the machine. */
export interface Site {
  readonly upstreamUrl: string;
  /** Where a Node process leaves a CPU profile when it ends. Absent: none is taken. */
  readonly profileDirectory?: string;
}

/** A contender at work on the measured core. */
export interface Running {
  readonly url: string;
  readonly pid: number;
  /** From starting the process to its first answer. */
  readonly startMs: number;
  /** What its callers send along. */
  readonly headers: Readonly<Record<string, string>>;
  /** Resolves when what it does behind its answers is done, so that it can be counted. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

/** The flags of Node that take a profile. */
export function profiling({ profileDirectory }: Site): readonly string[] {
  return profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`];
}
