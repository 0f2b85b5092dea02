import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bech32 } from '@scure/base'
import test, { type ExecutionContext } from 'ava'
import pg from 'pg'
import { checkBackup, restoreBackup } from '../../control-plane/station/restore-backup.ts'
import { findBackup } from '../../control-plane/station/shelf.ts'
import { newBoxKeys } from '../../shared/sealed-box.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { litterIn, pointUser } from '../harness/point-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { until } from '../harness/until.ts'

const ROOT = join(import.meta.dirname, '../..')
const DAYS = 3

function newAgeKeys() {
  const { privateKey, publicKey } = newBoxKeys()
  const encode = (prefix: string, key: Buffer) => bech32.encode(prefix, bech32.toWords(key), 200)
  return { recipient: encode('age', publicKey), identity: encode('age-secret-key-', privateKey).toUpperCase() }
}

function stationOf(fleet: TestFleet) {
  const environment = {
    PATH: process.env.PATH,
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    DATABASE_URL: fleet.backends.databaseUrl,
    HOLDFAST_SECRETS_KEY: fleet.backends.secretsKey,
    NATS_AUTHORITY_FILE: fleet.backends.authorityFile,
  }
  return async (...words: string[]) => {
    const child = spawn(process.execPath, ['control-plane/cli.ts', ...words], { cwd: ROOT, env: environment })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    const [code] = await once(child, 'close')
    return { code, output }
  }
}

/** As after the loss of the machine that it was on. */
async function loseDatabase({ backends }: TestFleet): Promise<void> {
  const url = new URL(backends.databaseUrl)
  const passwords = JSON.parse(readFileSync(join(backends.folder, 'postgres', 'passwords.json'), 'utf8'))
  const client = new pg.Client({
    host: url.hostname,
    port: Number(url.port),
    user: 'postgres',
    password: passwords.superuser,
    database: 'postgres',
  })
  await client.connect()
  await client.query('drop database holdfast with (force)')
  await client.query('create database holdfast owner holdfast')
  await client.end()
}

/** The directory of a point below the backup root. */
function directoryOf(backups: string, name: string): string {
  const found = readdirSync(backups, { recursive: true })
    .map(String)
    .find((path) => path.endsWith(`/${name}`))
  if (found === undefined) throw new Error(`no point ${name} in ${backups}`)
  return join(backups, found)
}

function isWhole(t: ExecutionContext, directory: string): void {
  t.notThrows(() =>
    execFileSync('/bin/sh', ['-c', 'sha256sum --quiet --strict -c sums'], { cwd: directory, stdio: 'pipe' }),
  )
}

/** Of what a restore does not touch. */
const KEPT = [
  'access_token',
  'dataset',
  'fleet_user',
  'host_credential',
  'host_enrolment',
  'idempotency_key',
  'lane_hold',
  'membership',
  'point',
  'point_series',
  'pool',
  'secret',
  'target',
  'user_group',
  'schema_migration',
]

function contentOf(fleet: TestFleet): Promise<string[]> {
  const digest = (table: string) =>
    `select '${table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') as of from ${table} t`
  return fleet.sql(KEPT.map(digest).join(' union all ')).then((rows) => rows.map((row) => row.of))
}

test('a station that lost its database comes back from its backup, and takes nothing from what was made since', async (t) => {
  const [shelf, backups, outside, keysTo] = [1, 2, 3, 4].map(() => temporaryDirectory(t)) as [
    string,
    string,
    string,
    string,
  ]
  const keys = newAgeKeys()
  const identity = join(keysTo, 'identity')
  writeFileSync(identity, `# mine\n${keys.identity}\n`)
  const steps = stepsIn(temporaryDirectory(t))
  const fleet = await startFleet(t, {
    ownPostgres: true,
    agents: [
      {
        name: 'a',
        driver: 'copy',
        path: temporaryDirectory(t),
        environment: {
          ...steps.environment,
          HOLDFAST_AGENT_BACKUP_ROOT: backups,
          HOLDFAST_AGENT_RESTORE_PATHS: `${outside}/`,
        },
      },
    ],
    environment: {
      HOLDFAST_STATION_BACKUP_DIR: shelf,
      HOLDFAST_STATION_BACKUP_RECIPIENTS: keys.recipient,
      HOLDFAST_STATION_BACKUP_KEEP: '2',
      HOLDFAST_TIMEZONE: 'UTC',
    },
  })
  const holdfast = stationOf(fleet)
  const user = pointUser(t, fleet)
  const backupsOf = async () => (await fleet.call('GET', '/api/v1/station/backups')).body.items

  // A station without a backup makes one at once; more are made when they are asked for, and the newest two stay.
  await until('the first backup is there', async () =>
    (await backupsOf()).some((one: { state: string }) => one.state === 'good'),
  )
  for (const _ of [1, 2]) {
    const begun = await fleet.call('POST', '/api/v1/station/backups')
    t.is(begun.status, 202, JSON.stringify(begun.body))
    await until('it is made', async () => (await backupsOf()).every((one: { state: string }) => one.state === 'good'))
  }
  const [newest] = await backupsOf()
  t.like(newest, { trigger: 'asked', asked_by: 'token:admin', encrypted: true, keys: true, reason: null })
  t.is(statSync(newest.file).mode & 0o777, 0o600)
  await until('the oldest has made way', () => readdirSync(shelf).length === 2)
  t.is((await backupsOf()).filter((one: { evicted_at: unknown }) => one.evicted_at !== null).length, 1)
  await until('the metrics tell of it', async () => {
    const headers = { authorization: `Bearer ${fleet.token}` }
    const text = await (await fetch(`${fleet.url()}/metrics`, { headers })).text()
    return /_backup_overdue 0\n/.test(text) && /_backup_good_timestamp_seconds \d{10}/.test(text)
  })
  t.is((await fleet.sql(`select count(*)::int as n from event where type like 'station.%'`))[0].n, 0, 'no alarm')

  const source = await user.dataset('source')
  writeFileSync(join(source, 'file'), 'first')
  const first = await user.good({ source: { dataset: 'source' } })
  writeFileSync(join(source, 'file'), 'second')
  const second = await user.good({ source: { dataset: 'source' }, incremental: true })
  const schedule = (
    await fleet.call('POST', '/container-station/api/v1/backup/', {
      ...{ job_name: 'nightly', container_id: 'source', type: 'dataset', dest: { target: 'local', path: '/n' } },
      at: { repeat: 'daily', start: 60 },
    })
  ).body.id
  await fleet.call('POST', '/api/v1/targets', {
    protocol: 'webdav',
    name: 'vault',
    host: '127.0.0.1:9',
    username: 'u',
    password: 'p',
  })

  // Of what follows the backup knows the order, and not how it ended.
  await fleet.agent('a').stop()
  const open = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'source' }, incremental: true })
  t.is(open.status, 202)
  await fleet.planes[0]?.stop()
  await fleet.sql(
    `update schedule set ledger_at = ledger_at - make_interval(days => ${DAYS}), next_due = next_due - make_interval(days => ${DAYS}),
       fire_at = fire_at - make_interval(days => ${DAYS})`,
  )
  const content = await contentOf(fleet)
  const elsewhere = join(shelf, 'elsewhere')
  mkdirSync(elsewhere)
  const made = await holdfast('station', 'backup', '--to', elsewhere, '--recipient', keys.recipient)
  t.is(made.code, 0, made.output)
  t.regex(made.output, /keys in it: secrets-key, authority.json, authority.conf/)

  // The time that will be lost.
  await fleet.ready({ plane: 0 })
  await fleet.ready({ agent: 'a' })
  t.is((await fleet.ended(open.body.job_id, 60_000)).state, 'succeeded')
  const third = await user.get(open.body.id)
  writeFileSync(join(source, 'file'), 'fourth')
  const fourth = await user.good({ source: { dataset: 'source' }, incremental: true })
  t.is(fourth.chain.at(-1), third.id)
  const later = await fleet.call('POST', '/api/v1/datasets', { name: 'later' })
  const lost = await fleet.call('POST', '/api/v1/targets', {
    protocol: 'webdav',
    name: 'lost',
    host: '127.0.0.1:9',
    username: 'u',
    password: 'p',
  })
  await until('the schedule has run', async () =>
    (await fleet.call('GET', `/api/v1/schedules/${schedule}/runs`)).body.items.some(
      (run: { outcome: string }) => run.outcome === 'ran' || run.outcome === 'late',
    ),
  )
  await fleet.quiet()
  const since = (await fleet.sql('select seq from event_head'))[0].seq

  // Into a database with anything in it nothing is restored, and without its identity nothing is read.
  const path = await findBackup(elsewhere)
  const asked = { url: fleet.backends.databaseUrl, path, keysTo: undefined }
  const identities = [keys.identity]
  await t.throwsAsync(restoreBackup({ ...asked, identities }), { code: 'conflict', message: /is not empty/ })
  await t.throwsAsync(checkBackup(path, []), { code: 'refused' })
  await t.throwsAsync(checkBackup(path, [newAgeKeys().identity]), { code: 'refused' })
  const cut = join(outside, 'cut')
  writeFileSync(cut, readFileSync(path).subarray(0, -1_000))
  await t.throwsAsync(checkBackup(cut, identities), { code: 'corrupt' })

  // An order that the restored database will not know, at work meanwhile.
  steps.set({ step: 'write', place: 'before', act: 'hold' })
  await fleet.call('POST', '/api/v1/points', { source: { dataset: 'source' } })
  await steps.held()
  await fleet.planes[0]?.stop()
  await loseDatabase(fleet)
  const restored = await holdfast(
    'station',
    'restore',
    '--from',
    elsewhere,
    '--identity',
    identity,
    '--keys-to',
    join(keysTo, 'keys'),
  )
  t.is(restored.code, 0, restored.output)
  t.regex(restored.output, /asked back: 1 jobs/)
  t.deepEqual(await contentOf(fleet), content)
  t.is(readFileSync(join(keysTo, 'keys', 'secrets-key'), 'utf8').trim(), fleet.backends.secretsKey)
  t.true(readFileSync(join(keysTo, 'keys', 'authority.json')).equals(readFileSync(fleet.backends.authorityFile)))
  t.is(statSync(join(keysTo, 'keys', 'authority.json')).mode & 0o777, 0o600)

  // The fleet comes up by itself. What was open when the backup was made is asked of its agent, who knows how it ended.
  await fleet.ready({ plane: 0 })
  await until('the host is back', async () => (await fleet.call('GET', '/api/v1/hosts/a')).body.state === 'online')
  t.is((await fleet.ended(open.body.job_id, 60_000)).state, 'succeeded')
  t.is((await user.get(third.id)).status, 'good')
  t.is((await fleet.call('GET', `/api/v1/points/${fourth.id}`)).status, 404)
  t.is((await fleet.call('GET', `/api/v1/events?since=${since}&timeout=0`)).status, 410)
  t.is((await fleet.call('GET', '/api/v1/events?timeout=0')).status, 200)
  await until('its agent was told to stop what nobody knows of', () =>
    /job\.unknown/.test(fleet.planes[0]?.log() ?? ''),
  )
  steps.open()
  await until('it has stopped', () => litterIn(backups).length === 0)

  // The ledger says of each instant that nobody knows what ran then; the newest fires once.
  const runs = await until('the newest instant has run', async () => {
    const { items } = (await fleet.call('GET', `/api/v1/schedules/${schedule}/runs`)).body
    return items.every((run: { state: string }) => run.state === 'ended') && items
  })
  const missed = runs.filter((run: { outcome: string }) => run.outcome === 'missed')
  t.is(runs.length - missed.length, 1, JSON.stringify(runs))
  t.true(missed.length >= DAYS - 1)
  for (const { reason } of missed) t.regex(reason, /restored from a backup of .*not known/)

  // What was made before is restored, what was made since still lies there, whole, whatever is made and deleted now.
  await user.done(`/${first.id}/restore`, { paths: ['file'], destination: { host: 'a', path: join(outside, 'file') } })
  t.is(readFileSync(join(outside, 'file'), 'utf8'), 'first')
  writeFileSync(join(source, 'file'), 'fifth')
  const fifth = await user.good({ source: { dataset: 'source' }, incremental: false })
  t.false([first.name, second.name, third.name, fourth.name].includes(fifth.name))
  isWhole(t, directoryOf(backups, fourth.name))
  const deletion = await fleet.call('DELETE', `/api/v1/points/${third.id}`)
  const job = await fleet.ended(deletion.body.job_id, 60_000)
  t.is(job.state, 'failed')
  t.regex(job.error.message, /rests on this one/)
  isWhole(t, directoryOf(backups, third.name))
  const copy = join(outside, 'copy')
  cpSync(join(directoryOf(backups, fourth.name), '..'), copy, { recursive: true })
  const into = join(outside, 'into')
  mkdirSync(into)
  execFileSync('/bin/sh', [join(copy, fourth.name, 'restore.sh'), into], { stdio: 'pipe' })
  t.is(readFileSync(join(into, 'file'), 'utf8'), 'fourth')

  // No number is given out twice.
  const another = await fleet.call('POST', '/api/v1/datasets', { name: 'later' })
  t.is(another.status, 201, JSON.stringify(another.body))
  t.true(another.body.id > later.body.id, `${another.body.id} ${later.body.id}`)
  const target = await fleet.call('POST', '/api/v1/targets', {
    protocol: 'webdav',
    name: 'new',
    host: '127.0.0.1:9',
    username: 'u',
    password: 'p',
  })
  t.true(target.body.number > lost.body.number)
  t.is((await fleet.sql(`select count(*)::int as n from audit where operation = 'station.restore'`))[0].n, 1)
  await fleet.quiet()
})
