// Types of the test harness.

import type { Duration, Plugin, Row, Timer, Timestamp } from './index.js';

/** What the host would show to the author of the pipeline. */
export class Refused extends Error {}

export interface Place {
    /** The record, counted from the first one pushed for this run; for a row that a timer caused, the record before which it fired. */
    cause: number;
    key: string;
    timer: Timer | null;
}

export class Result {
    readonly ports: { [name: string]: any[] };
    readonly rejects: { cause: number; reason: string }[];
    readonly timers: { key: string; time: Timestamp; number: number; set: boolean }[];
    readonly logs: { level: number; message: string }[];
    readonly counts: { [name: string]: bigint };
    /** The rows of a port, in order. */
    port(name: string): any[];
    /** The rows of the only port. */
    rows(): any[];
    /** What caused a row. */
    of(row: object): Place | undefined;
    /** The records that caused rows of the only port. */
    causes(): number[];
}

/** Runs a plugin over records, natively. */
export class Harness<I> {
    constructor(plugin: Plugin<I>, options?: { config?: object; tables?: { [name: string]: object[] }; watermarkDelay?: Duration });
    push(record: Row<I>, options?: { key?: string }): void;
    run(): Result;
    runTo(time: Timestamp): Result;
    runToEnd(): Result;
    timers(key?: string): Timer[];
    state(table: string, key?: string): any;
}
