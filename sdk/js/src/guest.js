// The plugin's side of the component: three exports, two imports.
//
// Owns: what stands between the world of wit/transform.wit and an `Engine`, and what of JavaScript a plugin must not reach. Does not
// own: what the messages mean (`engine`). Nothing else imports this module: it exists in a component only.
//
// Invariants: nothing that a plugin can call gives it what a replay could not give it again: clocks and chance throw an error that
// says what to use instead. What is thrown is logged with its place before the call traps.

import { Engine, Refused } from './engine.js';
import { DEBUG, ERROR, INFO, TRACE, WARN, log, sendTo } from './observe.js';
import { Plan } from './transform.js';

/** What of `console` writes a line, and at which level. */
const SAYS = new Map(Object.entries({ trace: TRACE, debug: DEBUG, log: INFO, info: INFO, warn: WARN, error: ERROR }));

/** The exports of a component. `lines` gives for each line of the bundle the author's file and line, or `null`. */
export function world(plugin, observe, name, version, lines) {
    if (!(plugin instanceof Plan)) {
        throw new TypeError('the module of the project has the plugin as its default export: export default transform({ ... })');
    }
    sendTo({ log: (level, message) => observe.log(level, message), count: (counter, delta) => observe.count(counter, delta) });
    for (const [name, level] of SAYS) {
        console[name] = (...said) => log(level, said.map(String).join(' '));
    }
    // What else there is would ask a clock, or does not exist.
    for (const name of Object.keys(console)) if (!SAYS.has(name)) console[name] = () => {};
    const engine = new Engine(plugin);
    const described = new TextEncoder().encode(JSON.stringify(plugin.description(name, version)));
    const guarded = (work) => {
        try {
            return work();
        } catch (error) {
            // What a component throws as a string is the error of its `result`.
            if (error instanceof Refused) throw error.message;
            logFailure(error, plugin.declared, lines());
            throw trapped(error);
        }
    };
    return {
        describe: () => described,
        init: (config) => guarded(() => engine.init(ours(config))),
        process: (batch) => guarded(() => engine.process(ours(batch))),
    };
}

/** The same bytes as an array of this global object: what the bindings give is none of its `Uint8Array`. */
function ours(bytes) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function logFailure(error, declared, lines) {
    const what = error instanceof Error ? textOf(() => `${error.name}: ${error.message}`) : `thrown: ${textOf(() => String(error))}`;
    log(ERROR, `panicked at ${placeOf(error, declared, lines)}:\n${what}`);
}

/** The innermost line of the author's own files; where there is none, the one that declares the plugin. */
function placeOf(error, declared, lines) {
    const placesOf = (stack) => [...String(stack ?? '').matchAll(/:(\d+):\d+\)?$/gm)].map(([, line]) => lines[Number(line) - 1]).filter((one) => one);
    const [place] = [...placesOf(textOf(() => error?.stack)), ...placesOf(declared.stack)].filter((one) => !one[2]);
    return place ? `${place[0]}:${place[1]}` : 'a line that is not known';
}

/** Names, messages and stacks may be getters of the author's. */
function textOf(text) {
    try {
        return text();
    } catch {
        return 'something that has no text';
    }
}

/** What is thrown on, so that the call traps and gives no `result`. */
function trapped(error) {
    return error instanceof Error ? error : new Error(textOf(() => String(error)));
}
