// Makes a component of a plugin in JavaScript or TypeScript: one bundle, then the engine that runs it.
//
//     node build.mjs '{"tools": …, "project": …, "entry": …, "sdk": …, "wit": …, "out": …, "name": …, "version": …, "scratch": …}'
//
// Owns: what esbuild and componentize-js are told. Does not own: where they are found (`mod.rs`).

import { writeFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const given = JSON.parse(process.argv[2]);
const tool = (name, file) => import(pathToFileURL(join(given.tools, 'node_modules', name, file)).href);
const { build } = await tool('esbuild', 'lib/main.js');
const { componentize } = await tool('@bytecodealliance/componentize-js', 'src/componentize.js');

const LINES = '__SEGNO_LINES__';
const entry = join(given.scratch, 'component.js');
await writeFile(entry, `import 'segno/restrict';
import { world } from 'segno/guest';
import * as observe from 'segno:stream/observe@1.0.0';
import plugin from ${JSON.stringify(resolve(given.project, given.entry))};
export const { describe, init, process } = world(plugin, observe, ${JSON.stringify(given.name)}, ${JSON.stringify(given.version)}, () => globalThis.${LINES});
`);

const sdk = (file) => join(given.sdk, 'src', file);
let bundled;
try {
    bundled = await build({
        entryPoints: [entry],
        bundle: true,
        write: false,
        format: 'esm',
        platform: 'neutral',
        target: 'es2022',
        charset: 'utf8',
        sourcemap: 'external',
        outfile: join(given.scratch, 'bundle.js'),
        external: ['segno:*'],
        alias: { segno: sdk('index.js'), 'segno/guest': sdk('guest.js'), 'segno/restrict': sdk('restrict.js') },
        absWorkingDir: resolve(given.project),
        logLevel: 'silent',
    });
} catch (error) {
    for (const { text, location } of error.errors ?? [{ text: String(error) }]) {
        console.error(location ? `${location.file}:${location.line}:${location.column + 1}: ${text}` : text);
    }
    process.exit(1);
}

// For each line of the bundle the author's file and line; `true`: a line of the SDK.
const [code, map] = ['bundle.js', 'bundle.js.map'].map((name) => bundled.outputFiles.find((file) => file.path.endsWith(`/${name}`)).text);
const places = new SourceMap(JSON.parse(map));
const own = resolve(given.project);
const lines = code.split('\n').map((_, number) => {
    const found = places.findEntry(number, 1_000_000);
    if (!found.originalSource || found.generatedLine !== number) return null;
    const file = relative(own, resolve(given.scratch, found.originalSource));
    const isOwn = !file.startsWith('..') && !resolve(own, file).startsWith(resolve(given.sdk));
    return [file, found.originalLine + 1, !isOwn];
});
await writeFile(join(given.scratch, 'source.js'), `${code}\nglobalThis.${LINES} = ${JSON.stringify(lines)};\n`);

try {
    const { component } = await componentize({
        sourcePath: join(given.scratch, 'source.js'),
        witPath: given.wit,
        worldName: 'transform',
        disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
    });
    await writeFile(given.out, component);
} catch (error) {
    console.error(String(error?.message ?? error));
    process.exit(1);
}
