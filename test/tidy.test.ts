import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import test from 'ava'
import { LONGEST } from '../deploy/test-order.ts'
import { VERSION } from '../shared/version.ts'

const root = resolve(import.meta.dirname, '..')

/** Folder → what it must never import. Every rule whose folder a file is in applies; paths are relative to the repository. */
const forbidden: readonly (readonly [folder: string, imports: RegExp])[] = [
  ['shared/', /^(control-plane|agent|deploy|test|bench)\/|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/],
  ['agent/', /^(control-plane|deploy|test|bench)\/|^(koa|@koa\/router|typeorm|pg|ws)$/],
  ['agent/drivers/', /^agent\/(work|host|instances|archive|transfer|export)\/|^(nats|@nats-io\/.*)$/],
  [
    'agent/volumes/',
    /^agent\/(work|host|instances|archive|transfer|export|points|pipelines|identity)\/|^(nats|@nats-io\/.*)$/,
  ],
  ['agent/export/', /^agent\/(?!export\/|native\/|exec\/)|^(nats|@nats-io\/.*)$/],
  ['agent/zfs/', /^agent\/(?!zfs\/|native\/|exec\/)|^(nats|@nats-io\/.*)$/],
  ['agent/points/', /^agent\/(work|host|pipelines|identity)\/|^(nats|@nats-io\/.*)$/],
  ['agent/pipelines/', /^agent\/(work|host)\/|^(nats|@nats-io\/.*)$/],
  ['agent/transfer/', /^agent\/(?!transfer\/|native\/|exec\/)|^(nats|@nats-io\/.*)$/],
  [
    'agent/archive/',
    /^agent\/(?!archive\/|iscsi\/|native\/|exec\/|threads\/|tree\/(?:counters|remove-tree|stamps)\.ts)|^(nats|@nats-io\/.*)$/,
  ],
  ['agent/instances/', /^agent\/(?!instances\/|native\/|exec\/)|^(nats|@nats-io\/.*)$/],
  ['agent/native/', /^agent\/(?!native\/)/],
  ['agent/threads/', /^agent\/(?!threads\/|native\/)|^(nats|@nats-io\/.*)$/],
  ['agent/iscsi/', /^agent\/(?!iscsi\/|native\/)|^(nats|@nats-io\/.*)$/],
  ['agent/exec/', /^agent\/(?!exec\/)/],
  ['agent/zfs/', /^agent\/(?!zfs\/|exec\/)|^(nats|@nats-io\/.*)$/],
  ['control-plane/', /^(agent|test|bench|deploy)\//],
  ['control-plane/core/', /^control-plane\/(?!core\/)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/],
  [
    'control-plane/dialects/',
    /^control-plane\/(?!core\/|dialects\/|http\/route\.ts)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/http/',
    /^control-plane\/(db|jobs|hosts|schedule)\/|^control-plane\/dialects|^(typeorm|pg|nats|@nats-io\/.*)$/,
  ],
  [
    'control-plane/db/',
    /^control-plane\/(http|jobs|feed|hosts|schedule|dialects)(\/|\.ts)|^(koa|@koa\/router|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/audit/',
    /^control-plane\/(http|jobs|feed|hosts|schedule|dialects|secrets)(\/|\.ts)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/secrets/',
    /^control-plane\/(?!core\/|secrets\/)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/station/',
    /^control-plane\/(http|jobs|feed|hosts|identity|schedule|dialects)(\/|\.ts)|^(koa|@koa\/router|typeorm|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/upstream/',
    /^control-plane\/(?!core\/|upstream\/|http\/(?:body|forward|request-target)\.ts)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/,
  ],
  ['control-plane/jobs/', /^control-plane\/(http|hosts|schedule|dialects)(\/|\.ts)|^(koa|@koa\/router|typeorm|pg|ws)$/],
  [
    'control-plane/identity/',
    /^control-plane\/(http|jobs|feed|hosts|schedule|dialects)(\/|\.ts)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*|ws)$/,
  ],
  [
    'control-plane/feed/',
    /^control-plane\/(jobs|hosts|schedule|dialects)(\/|\.ts)|^(koa|@koa\/router|typeorm|pg|nats|@nats-io\/.*)$/,
  ],
  ['deploy/', /^(control-plane|agent|test|bench)\//],
]

/** Scripts that read the registry of dialects; nothing imports them. */
const entryPoints = ['control-plane/http/write-openapi.ts']

/** Koa is known to the HTTP layer alone. */
const koaOnlyIn = 'control-plane/http/'

/** Beside the entry points, a file's own tests may import more. */
function sourceFiles(folder: string): string[] {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  return files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts')).map((file) => join(folder, file))
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  const specifiers = [...text.matchAll(/\b(?:from|import) '([^']+)'|\bimport\('([^']+)'\)/g)].map(
    (match) => match[1] ?? match[2] ?? '',
  )
  return specifiers.map((s) => (s.startsWith('.') ? relative(root, resolve(root, dirname(file), s)) : s))
}

/** `control-plane/dialects/zerofs/x.ts` → `control-plane/dialects/zerofs/`. */
function siblingOf(file: string): string | undefined {
  return /^(control-plane\/dialects|agent\/(?:drivers|volumes|instances|transfer|export))\/[^/]+\//.exec(file)?.[0]
}

/** A dialect or driver that imports another one. */
function importsSibling(file: string, target: string): boolean {
  const own = siblingOf(file)
  const other = siblingOf(target)
  return own !== undefined && other !== undefined && own !== other && dirname(own) === dirname(other)
}

const everyFile = ['shared', 'agent', 'control-plane', 'deploy'].flatMap(sourceFiles)

for (const file of everyFile.filter((file) => !entryPoints.includes(file))) {
  test(`${file} keeps to its layer`, (t) => {
    const rules = forbidden.filter(([folder]) => file.startsWith(folder)).map(([, imports]) => imports)
    const broken = importsOf(file).filter(
      (target) => rules.some((rule) => rule.test(target)) || importsSibling(file, target),
    )
    t.deepEqual(broken, [])
    if (!file.startsWith(koaOnlyIn))
      t.deepEqual(
        importsOf(file).filter((target) => /^@?koa/.test(target)),
        [],
      )
  })
}

/** Every module that a file brings in when it runs, itself included. */
function reach(file: string, reached = new Set<string>()): ReadonlySet<string> {
  if (reached.has(file)) return reached
  reached.add(file)
  if (!file.endsWith('.ts')) return reached
  const text = readFileSync(join(root, file), 'utf8')
  for (const [, specifier = ''] of text.matchAll(/^(?:import|export|\}) (?!type )(?:[^'\n]*from )?'([^']+)'/gm))
    reach(specifier.startsWith('.') ? relative(root, resolve(root, dirname(file), specifier)) : specifier, reached)
  return reached
}

for (const file of everyFile.filter((name) => name.endsWith('-worker.ts')))
  test(`${file} brings in no package but koffi: each order begins threads of it, and a library of schemas takes longer than they do`, (t) => {
    const packages = [...reach(file)].filter((name) => !name.endsWith('.ts') && !name.startsWith('node:'))
    t.deepEqual(packages, ['koffi'])
  })

test('only configuration, entry points and deployment read the environment', (t) => {
  const allowed = /^(deploy\/|(agent|control-plane)\/main\.ts$|control-plane\/cli\.ts$)/
  const readers = everyFile.filter(
    (file) =>
      !allowed.test(file) &&
      /\bprocess\.env\b/.test(readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')),
  )
  t.deepEqual(readers, [])
})

test('files are named for what they hold', (t) => {
  const named = everyFile.filter((file) => /(^|\/)(index|utils?|helpers?|common|manager|service)\.ts$/.test(file))
  t.deepEqual(named, [])
})

test('the version is one', (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  t.is(version, VERSION)
})

test('files that begin first are there', (t) => {
  t.deepEqual(
    LONGEST.filter((name) => !existsSync(join(root, name))),
    [],
  )
})
