import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { newDirectory, pointHost, pointUser, tidy } from '../harness/point-fleet.ts'
import { makeUnreadable } from '../harness/rot.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { createTenant } from '../harness/tenants.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'zstd', 'python3') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const serially = testUnless(lacks)

const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const host = pointHost(scope)
  return { host, agents: [host.wish] }
})

const VAULT = { protocol: 'webdav', name: 'vault', host: 'nas.test', port: 8443, username: 'u', password: 'hunter2' }

serially('another tenant sees, reads, changes and fills nothing of what is not theirs', async (t) => {
  const { fleet, host } = at(t)
  const [acme, other] = await Promise.all([createTenant(fleet, 'acme'), createTenant(fleet, 'other')])
  const as = { token: (await acme.member('operator')).token }
  const stranger = { token: (await other.member('admin')).token }
  const viewer = { token: (await acme.member('viewer')).token }
  const user = pointUser(t, fleet)
  for (const caller of [as, stranger]) {
    const made = await fleet.call('POST', '/api/v1/datasets', { name: 'own', host: host.wish.name }, caller)
    t.is(made.status, 201, JSON.stringify(made.body))
  }
  const where = async (groupId: string) =>
    (await fleet.sql(`select mountpoint from dataset where group_id = $1 and name = 'own'`, [groupId]))[0].mountpoint
  writeFileSync(join(await where(acme.groupId), 'secret'), 'of acme')
  const target = (await fleet.call('POST', '/api/v1/targets', VAULT, as)).body
  t.is(target.name, 'vault')
  const { body: told } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'own' } }, as)
  await fleet.ended(told.job_id)
  const id = told.id
  const mine = await fleet.call('GET', `/api/v1/points/${id}`, undefined, as)
  t.is(mine.body.status, 'good')
  t.is(mine.body.location, null, 'places on hosts are for admins of the fleet')

  const points = `/api/v1/points/${id}`
  const destination = { dataset: 'own', path: '/stolen' }
  for (const [method, path, body] of [
    ['GET', points],
    ['GET', `${points}/files`],
    ['GET', `${points}/diff/${id}`],
    ['PUT', `${points}/pin`],
    ['DELETE', `${points}/pin`],
    ['DELETE', points],
    ['POST', `${points}/verify`],
    ['POST', `${points}/rehearse`],
    ['POST', `${points}/restore`, { destination }],
    ['GET', `/api/v1/targets/${target.id}`],
    ['PUT', `/api/v1/targets/${target.id}`, { description: 'x' }],
    ['DELETE', `/api/v1/targets/${target.id}`],
    ['POST', `/api/v1/targets/${target.id}/ping`],
    ['GET', `/api/v1/targets/${target.id}/files`],
    ['GET', `/api/v1/target/${target.number}`],
    ['GET', `/api/v1/target/${target.number}/ping`],
    ['GET', `/api/v1/target/${target.number}/dirs/`],
    ['DELETE', `/api/v1/target/${target.number}`],
    ['POST', '/api/v1/points', { source: { dataset: 'own' }, target: target.id }],
    ['GET', `/api/v1/jobs/${told.job_id}`],
  ] as const) {
    const answer = await fleet.call(method, path, body, stranger)
    t.is(answer.status, 404, `${method} ${path}: ${JSON.stringify(answer.body)}`)
  }
  for (const list of ['/api/v1/points', '/api/v1/targets'])
    t.deepEqual((await fleet.call('GET', list, undefined, stranger)).body.items, [])
  t.deepEqual((await fleet.call('GET', '/api/v1/target/', undefined, stranger)).body, [])
  const local = await fleet.call('GET', '/api/v1/target/local/dirs/?host=a', undefined, stranger)
  t.false(JSON.stringify(local.body).includes('own'), JSON.stringify(local.body))

  // The same names are another's other things.
  const theirs = await user.good({ source: { dataset: 'own' } }, stranger)
  t.not(theirs, undefined)
  const places = await fleet.sql('select id from point')
  t.is(places.length, 2)
  t.is((await fleet.call('POST', '/api/v1/points', { source: { dataset: 'own' } }, viewer)).status, 403)
  t.is((await fleet.call('POST', `${points}/restore`, { destination }, viewer)).status, 403)
  const path = { source: { host: host.wish.name, path: host.outside } }
  t.is((await fleet.call('POST', '/api/v1/points', path, as)).status, 403)
  const out = { destination: { host: host.wish.name, path: join(host.outside, 'out') } }
  t.is((await fleet.call('POST', `${points}/restore`, out, as)).status, 403)
  t.false(existsSync(join(host.outside, 'out')))
  t.is((await fleet.call('DELETE', points, undefined, as)).status, 202)
  await tidy(t, fleet, host)
})

serially('files that cannot be read make a point PARTIAL, which says which, and is never good', async (t) => {
  const { fleet, host } = at(t)
  const user = pointUser(t, fleet)
  const source = await user.dataset('rotten')
  writeFileSync(join(source, 'sound'), 'sound')
  writeFileSync(join(source, 'broken'), randomBytes(100_000))
  makeUnreadable(host.pool, join(source, 'broken'))
  t.throws(() => readFileSync(join(source, 'broken')), { code: 'EIO' })
  const { point } = await user.make({ source: { dataset: 'rotten' } })
  t.is(point.status, 'partial')
  t.is(point.problem_count, 1)
  t.deepEqual(
    point.problems.map((problem: { path: string }) => problem.path),
    ['broken'],
  )
  t.is(typeof point.problems[0].reason, 'string')
  t.deepEqual((await fleet.call('GET', '/api/v1/points?status=good&source=rotten')).body.items, [])
  t.is((await fleet.call('GET', '/api/v1/points?status=partial&source=rotten')).body.items.length, 1)
  const part = { paths: ['sound'], destination: { dataset: 'rotten', path: '/again' } }
  await user.done(`/${point.id}/restore`, part)
  t.is(readFileSync(join(source, 'again'), 'utf8'), 'sound')
  execFileSync('/bin/rm', [join(source, 'broken')])
  const next = await user.good({ source: { dataset: 'rotten' }, incremental: true })
  t.deepEqual(next.chain, [])
  t.regex(next.full_reason, /no good point/)
  await tidy(t, fleet, host)
})

serially('a directory in which something is mounted, or that is written to meanwhile, is told of', async (t) => {
  const { fleet, host } = at(t)
  const user = pointUser(t, fleet)
  const path = newDirectory(host.outside, 'live')
  mkdirSync(join(path, 'mounted'))
  writeFileSync(join(path, 'file'), 'file')
  execFileSync('/bin/mount', ['-t', 'tmpfs', 'test', join(path, 'mounted')])
  writeFileSync(join(path, 'mounted', 'elsewhere'), 'not of this tree')
  writeFileSync(join(path, 'growing'), randomBytes(30_000_000))
  const writer = spawn('/bin/sh', ['-c', 'while :; do echo more >>"$0"; done', join(path, 'growing')])
  t.teardown(() => void writer.kill('SIGKILL'))
  t.teardown(() => execFileSync('/bin/umount', [join(path, 'mounted')]))
  const { point } = await user.make({ source: { host: host.wish.name, path } })
  writer.kill('SIGKILL')
  t.is(point.status, 'partial')
  t.is(point.consistency, 'fuzzy')
  t.deepEqual(point.problems.map((problem: { path: string }) => problem.path).toSorted(), ['growing', 'mounted'])
  const { body } = await fleet.call('GET', `/api/v1/points/${point.id}/files?search=elsewhere`)
  t.deepEqual(body.items, [])
  await tidy(t, fleet, host)
})
