// What of JavaScript and of its engine differs from run to run is not there for a plugin.
//
// Owns: the lists, and the words that say what to use instead. Does not own: WASI, which the component does not import at all.
//
// What is left is the language, without what is listed here, and a few classes that are functions of their arguments. Math.sin() and
// its kin stay: the component carries its engine, so that they give the same in each replay.
//
// Invariant: imported before the plugin, so that it cannot keep a reference.

const CLOCK = "take the record's event time (eventTime)";
const CHANCE = 'derive numbers from the record, such as from its key';
const LATER = 'there is nothing to wait for in a plugin: do it at once, or set a timer (timers.set)';
const OUTSIDE = 'hand rows in as a side table of the step';
const LOCALE = 'use a form without a locale: compare with <, toLowerCase(), String(number)';
const ZONE = 'use the forms of UTC, such as getUTCHours() and toISOString(), or civil() and hourOf() of segno';
const COLLECTED = 'keep what you need, or let it go';

class NotDeterministic extends Error {
    name = 'NotDeterministic';
}

function refused(what, instead) {
    return function () {
        throw new NotDeterministic(`${what} is not there for a plugin, since a replay would differ: ${instead}`);
    };
}

function put(object, name, value) {
    Object.defineProperty(object, name, { value, writable: false, configurable: false, enumerable: false });
}

function replace(object, names, shown, instead) {
    for (const name of names) if (object && name in object) put(object, name, refused(shown(name), instead));
}

replace(Math, ['random'], (name) => `Math.${name}()`, CHANCE);

const Original = Date;
const Restricted = function Date(...given) {
    if (!new.target || given.length === 0) return refused(new.target ? 'new Date()' : 'Date()', CLOCK)();
    return Reflect.construct(Original, given, new.target === Restricted ? Original : new.target);
};
Restricted.prototype = Original.prototype;
Restricted.UTC = Original.UTC;
// Texts without a zone are of the machine's: what is left are those of UTC.
Restricted.parse = (text) => (/(Z|[+-]\d\d:?\d\d)$|^[+-]?\d+(-\d\d){0,2}$/.test(text) ? Original.parse(text) : refused(`the time ${text} without a zone`, 'write it with Z')());
put(Original.prototype, 'constructor', Restricted);
put(globalThis, 'Date', Restricted);
put(Restricted, 'now', refused('Date.now()', CLOCK));
const LOCAL = /^(get|set)(Date|Day|FullYear|Hours|Milliseconds|Minutes|Month|Seconds|Year|TimezoneOffset)$|^toLocale|^to(Date|Time)?String$/;
replace(Original.prototype, Object.getOwnPropertyNames(Original.prototype).filter((name) => LOCAL.test(name)), (name) => `Date.prototype.${name}()`, ZONE);

for (const prototype of [Array.prototype, Number.prototype, BigInt.prototype, Object.prototype, Object.getPrototypeOf(Int8Array.prototype)]) {
    replace(prototype, ['toLocaleString'], (name) => `${name}()`, LOCALE);
}
replace(String.prototype, ['localeCompare', 'toLocaleLowerCase', 'toLocaleUpperCase'], (name) => `${name}()`, LOCALE);
for (const [name, instead] of [['Intl', LOCALE], ['crypto', CHANCE], ['performance', CLOCK]]) {
    // Whether this engine has it or not: whatever is asked of it is refused in the same words.
    put(globalThis, name, new Proxy({}, { get: (_, one) => (typeof one === 'string' ? refused(`${name}.${one}`, instead) : undefined) }));
}
replace(globalThis, ['WeakRef', 'FinalizationRegistry'], (name) => `new ${name}()`, COLLECTED);
// What an asynchronous function becomes (the bundler writes it as one that makes a Promise).
const promise = refused('a Promise, and with it an asynchronous function,', LATER);
put(globalThis, 'Promise', new Proxy(promise, { get: (_, name) => (name === 'prototype' ? promise.prototype : promise) }));
replace(Array, ['fromAsync'], (name) => `Array.${name}()`, LATER);
replace(globalThis, ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'], (name) => `${name}()`, LATER);
// Everything else that is no part of the language.
const KEPT = new Set([
    'globalThis', 'self', 'console', 'TextEncoder', 'TextDecoder', 'URL', 'URLSearchParams', 'structuredClone', 'atob', 'btoa',
    'Infinity', 'NaN', 'undefined', 'eval', 'isFinite', 'isNaN', 'parseFloat', 'parseInt', 'decodeURI', 'decodeURIComponent', 'encodeURI',
    'encodeURIComponent', 'escape', 'unescape', 'Object', 'Function', 'Array', 'Number', 'Boolean', 'String', 'Symbol', 'Date', 'RegExp', 'Error',
    'EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError', 'AggregateError', 'InternalError', 'ArrayBuffer',
    'SharedArrayBuffer', 'DataView', 'Atomics', 'Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array',
    'BigInt64Array', 'BigUint64Array', 'Float16Array', 'Float32Array', 'Float64Array', 'BigInt', 'Map', 'Set', 'WeakMap', 'WeakSet', 'Proxy',
    'Reflect', 'JSON', 'Math', 'Iterator', 'Intl', 'crypto', 'performance', 'WeakRef', 'FinalizationRegistry', 'Promise', 'setTimeout', 'setInterval',
    'setImmediate', 'queueMicrotask',
]);
for (const name of Object.getOwnPropertyNames(globalThis)) {
    const { value, configurable } = Object.getOwnPropertyDescriptor(globalThis, name);
    if (KEPT.has(name) || !configurable || typeof value !== 'function' || name.startsWith('_')) continue;
    put(globalThis, name, refused(/^[A-Z]/.test(name) ? `new ${name}()` : `${name}()`, OUTSIDE));
}
