// Types of the SDK, for TypeScript and for editors. What each does is written where it is made (`*.js`).

/** An instant: microseconds since 1970-01-01T00:00:00 UTC. */
export type Timestamp = bigint;
/** A duration in microseconds. */
export type Duration = bigint;
/** A day: days since 1970-01-01. */
export type Day = number;

/** A declared column whose values are `T`. */
export interface Column<T> {
    readonly value?: T;
    readonly column: true;
}
export type Columns = { readonly [name: string]: Column<any> };
type Nullable<C> = { [N in keyof C]: C[N] extends Column<infer T> ? (null extends T ? N : never) : never }[keyof C];
/** What is read: each column has a value. */
export type Row<C> = { -readonly [N in keyof C]: C[N] extends Column<infer T> ? T : never };
/** What is given: columns that may be null may be left out. */
export type Given<C> = { [N in Exclude<keyof C, Nullable<C>>]: Row<C>[N] } & { [N in Nullable<C>]?: Row<C>[N] };

export const bool: Column<boolean>;
/** A whole number from -2^31 to 2^31-1. */
export const i32: Column<number>;
export const i64: Column<bigint>;
export const u64: Column<bigint>;
export const f64: Column<number>;
export const utf8: Column<string>;
export const binary: Column<Uint8Array>;
export const timestamp: Column<Timestamp>;
export const date: Column<Day>;
/** Exact decimals of so many digits, of which `scale` stand behind the point. */
export function decimal128(precision: number, scale: number): Column<Decimal>;
/** The event time of a record: no column of the plugin, but what the pipeline calls `time:`. */
export const eventTime: Column<Timestamp>;
/** A column that may be null. */
export function optional<T>(column: Column<T>): Column<T | null>;
/** The name of a column where it is no good name in JavaScript. */
export function named<T>(name: string, column: Column<T>): Column<T>;
/** The version of its table that brought a column of state. */
export function since<T>(version: number, column: Column<T>): Column<T>;
/** In state: a list of objects with these columns. */
export function list<C extends Columns>(columns: C): Column<Row<C>[]>;

/** An output. */
export interface Port<C> {
    /** Gives a row. Throws when a column is missing or not of its type. */
    push(row: Given<C>): void;
}
export interface KeepPort {
    /** Gives the current record. */
    keep(): void;
}
export interface PortSpec<P> {
    readonly port?: P;
}
/** Rows that are the record that caused them, followed by these columns. */
export function extend<C extends Columns>(columns: C): PortSpec<Port<C>>;
/** Records as they came: a filter. */
export function keep(): PortSpec<KeepPort>;
/** Rows with these columns only. */
export function emit<C extends Columns>(columns: C): PortSpec<Port<C>>;
/** Rows that are the key, followed by these columns. */
export function perKey<C extends Columns>(columns: C): PortSpec<Port<C>>;

/** One value for each key of the pipeline. It may be changed in place. */
export interface Keyed<T> {
    /** The key's value, or `null` for a new key. */
    get(): T | null;
    /** The key's value; made by `first()` for a new key. */
    orInsert(first: () => T): T;
    /** The key's value; for a new key one whose columns are null, zero, false or empty. */
    orDefault(): T;
    set(value: T): void;
    /** Forgets the key. */
    clear(): void;
}
/** The open windows of each key; handed to `Tumbling` or `Sliding`. */
export interface Panes<T> {
    readonly kept?: T;
}
export interface StateSpec<S> {
    readonly state?: S;
}
export function keyed<C extends Columns>(columns: C, options?: { table?: string; version?: number }): StateSpec<Keyed<Row<C>>>;
export function panes<C extends Columns>(columns: C, options?: { version?: number }): StateSpec<Panes<Row<C>>>;

/** The rows of a side table, in the pipeline's order. */
export interface Table<T> extends Iterable<T> {
    readonly rows: readonly T[];
    readonly length: number;
    /** The row with this key, or `null`. */
    get(key: unknown): T | null;
}
export interface TableSpec<T> {
    readonly table?: T;
}
/** Rows of a side table, which the pipeline hands over; `key` is the column by which rows are found. */
export function table<C extends Columns>(columns: C, options?: { key?: keyof C & string; name?: string }): TableSpec<Table<Row<C>>>;

/** A declared setting. */
export interface Setting<T> {
    readonly setting?: T;
    /** The value of a setting that is not given. */
    or(value: T): Setting<T>;
}
export type Settings<S> = { [N in keyof S]: S[N] extends Setting<infer T> ? T : never };
export const setting: {
    readonly bool: Setting<boolean>;
    readonly i32: Setting<number>;
    readonly i64: Setting<bigint>;
    readonly u64: Setting<bigint>;
    readonly f64: Setting<number>;
    readonly utf8: Setting<string>;
    oneOf<const W extends readonly string[]>(...words: W): Setting<W[number]>;
    list<T>(of: Setting<T>): Setting<T[]>;
    map<T>(of: Setting<T>): Setting<Map<string, T>>;
    object<S extends { readonly [name: string]: Setting<any> }>(fields: S): Setting<Settings<S>>;
    optional<T>(of: Setting<T>): Setting<T | null>;
};

export interface Timer {
    /** The time that it was set for. */
    readonly time: Timestamp;
    /** The number that it was set with. */
    readonly number: number;
}
export interface Timers {
    /** The event time up to which everything has come, but for what is late; `null` before the first record. */
    readonly watermark: Timestamp | null;
    reached(time: Timestamp): boolean;
    set(time: Timestamp, number?: number): void;
    delete(time: Timestamp, number?: number): void;
}

type Ports = { readonly [name: string]: PortSpec<any> };
type States = { readonly [name: string]: StateSpec<any> };
type Tables = { readonly [name: string]: TableSpec<any> };
type SettingsOf = { readonly [name: string]: Setting<any> };
export type Context<P, S, T, C> = { readonly config: Settings<C>; readonly timers: Timers }
    & { readonly [N in keyof P]: P[N] extends PortSpec<infer O> ? O : never }
    & { readonly [N in keyof S]: S[N] extends StateSpec<infer O> ? O : never }
    & { readonly [N in keyof T]: T[N] extends TableSpec<infer O> ? O : never };

/** A plugin, as `transform` makes it. */
export interface Plugin<I = any> {
    readonly input?: I;
}
export function transform<
    I extends Columns,
    P extends Ports,
    S extends States = {},
    T extends Tables = {},
    C extends SettingsOf = {},
    // What `setup` adds.
    A extends object = {},
>(spec: {
    /** The columns that are read. */
    input: I;
    ports: P;
    state?: S;
    /** `config:` of the step. */
    config?: C;
    tables?: T;
    /** Once for each instance; what it returns is added to the context. */
    setup?(context: Context<P, S, T, C>): A | void;
    process(record: Row<I>, context: Context<P, S, T, C> & A): void;
    onTimer?(timer: Timer, context: Context<P, S, T, C> & A): void;
}): Plugin<I>;

/** Rejects the current record: its rows are dropped, what it changed of state and timers stays. The message is the reason. */
export class Reject extends Error {}
/** `setup` cannot work with what the pipeline gave it. */
export class ConfigRefused extends Error {}

export const MILLISECOND: Duration;
export const SECOND: Duration;
export const MINUTE: Duration;
export const HOUR: Duration;
export const DAY: Duration;
/** The instant that is so much later; at the ends of time it stays there. */
export function after(time: Timestamp, duration: Duration): Timestamp;
/** The start of the window of this width that holds the instant. */
export function floor(time: Timestamp, width: Duration): Timestamp;
export function dayOf(time: Timestamp): Day;
/** The hour of the day in UTC, 0 to 23. */
export function hourOf(time: Timestamp): number;
export function civil(day: Day): { year: number; month: number; day: number };
/** A day as 2024-05-01. */
export function dayText(day: Day): string;
/** An instant as 2024-05-01T10:05:00.000000Z. */
export function timeText(time: Timestamp): string;

/** An exact decimal: `digits` times ten to the power of minus `scale`. */
export class Decimal {
    constructor(digits: bigint, scale: number);
    static of(text: string): Decimal;
    readonly digits: bigint;
    readonly scale: number;
    /** With so many digits behind the point; further ones are cut off, towards zero. */
    truncated(scale: number): Decimal;
    plus(other: Decimal): Decimal;
    minus(other: Decimal): Decimal;
    times(other: Decimal): Decimal;
    /** -1, 0 or 1. */
    compare(other: Decimal): number;
    toString(): string;
}

/** The result of a window: from `start` up to `end`, without the end. */
export interface Fired<T> {
    readonly start: Timestamp;
    readonly end: Timestamp;
    /** `early`: before its end, more may come; `on_time`: its end is reached; `update`: late records changed it. */
    readonly kind: 'early' | 'on_time' | 'update';
    readonly value: T;
}
export interface WindowOptions {
    allowedLateness?: Duration;
    earlyEvery?: Duration | null;
    timerNumber?: number;
}
export class Tumbling<T> {
    constructor(panes: Panes<T>, size: Duration, options?: WindowOptions & { offset?: Duration });
    window(time: Timestamp): { start: Timestamp; end: Timestamp };
    /** What is kept for the window of a record, to be changed in place. Throws `Late`. */
    add(time: Timestamp): T;
    fire(timer: Timer): Fired<T>[];
}
export class Sliding<T> {
    constructor(panes: Panes<T>, size: Duration, slide: Duration, options: WindowOptions & { merge(whole: T, part: T): void });
    add(time: Timestamp): T;
    fire(timer: Timer): Fired<T>[];
}
/** A record is late: the watermark has reached the end of the last window that it belongs to. */
export class Late extends Reject {
    readonly end: Timestamp;
}

export const TRACE: 0;
export const DEBUG: 1;
export const INFO: 2;
export const WARN: 3;
export const ERROR: 4;
/** Writes a line to the host's log. */
export function log(level: number, message: string): void;
export function debug(message: string): void;
export function info(message: string): void;
export function warn(message: string): void;
/** Adds to a counter of this step. */
export function count(name: string, delta?: bigint | number): void;
