import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import test from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'
import { block } from './dialect.ts'
import { blockGateway } from './gateway.ts'

const VOLUMES = '/v3/default/volumes'
const SNAPSHOTS = '/v3/default/snapshots'
type Ask = Awaited<ReturnType<typeof startListener>>['ask']

async function volume(ask: Ask, given: object = {}): Promise<string> {
  const { json, status, text } = await ask('POST', VOLUMES, { body: { volume: { size: 1, ...given } } })
  if (status !== 202) throw new Error(text)
  return json.volume.id
}

const act = (ask: Ask, id: string, body: object) => ask('POST', `${VOLUMES}/${id}/action`, { body })

/** Of the document, 1.4: what is asked of the gateway, and what of the block API that leads to. Source: backup-service.md */
const TABLE = [
  ['GET /v1/block/snapshot', 'GET /v3/:project/snapshots'],
  ['GET /v1/block/snapshot/:id', 'GET /v3/:project/snapshots/:id'],
  ['POST /v1/block/snapshot', 'POST /v3/:project/snapshots'],
  ['DELETE /v1/block/snapshot/:id', 'DELETE /v3/:project/snapshots/:id'],
  ['GET /v1/block/volume', 'GET /v3/:project/volumes'],
  ['GET /v1/block/volume/:id', 'GET /v3/:project/volumes/:id'],
  ['POST /v1/block/volume', 'POST /v3/:project/volumes'],
  ['POST /v1/block/volume', 'POST /v1/volume'],
  ['POST /v1/block/volume/:id/action', 'POST /v3/:project/volumes/:id/action'],
  ['POST /v1/block/volume/:id/action', 'POST /v1/volume/:id/action'],
  ['DELETE /v1/block/volume/:id', 'DELETE /v3/:project/volumes/:id'],
] as const

test("the gateway's table is whole, and nothing is beside it", (t) => {
  const served = ({ routes }: typeof block) =>
    routes.flatMap((one) => ('method' in one ? [`${one.method} ${one.path}`] : []))
  const behind = [...served(block), ...served(blockGateway)]
  for (const [, to] of TABLE) t.true(behind.includes(to), to)
  t.deepEqual(served(blockGateway).toSorted(), [...new Set(TABLE.flat().filter((one) => /v1/.test(one)))].toSorted())
})

test('the gateway leads where the document says', async (t) => {
  const { url } = await startListener(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  t.deepEqual(await replay(exchanges, { baseUrl: url, token: 'operator-token', variables: {} }), [])
})

test('clients find the version, and are told which they speak', async (t) => {
  const { ask, url } = await startListener(t)
  const root = await ask('GET', '/', { as: null })
  t.is(root.status, 200)
  t.like(root.json.versions[0], { status: 'CURRENT', min_version: '3.0', links: [{ rel: 'self', href: `${url}/v3/` }] })
  t.deepEqual((await ask('GET', '/v3/', { as: null })).json, root.json)
  const at = (version: string) => ask('GET', VOLUMES, { headers: { 'openstack-api-version': version } })
  t.is((await at('compute 2.1, volume 3.27')).headers.get('openstack-api-version'), 'volume 3.27')
  t.is((await at('volume latest')).headers.get('openstack-api-version'), 'volume 3.65')
  t.is((await at('compute 2.1')).headers.get('openstack-api-version'), 'volume 3.0')
  t.like(await at('volume 3.66'), { status: 406, json: { notAcceptable: { code: 406 } } })
  t.like(await at('volume next'), { status: 400, json: { badRequest: { code: 400 } } })
})

test('a volume as the block API shows it', async (t) => {
  const { ask, url } = await startListener(t)
  const given = { name: 'data', description: null, metadata: { tier: 'gold' }, imageRef: null, size: '2' }
  const made = await ask('POST', VOLUMES, { body: { volume: given } })
  t.is(made.status, 202, made.text)
  t.regex(made.headers.get('x-job-id') ?? '', /^[0-9a-f-]{36}$/)
  const { id } = made.json.volume
  const path = `${VOLUMES}/${id}`
  const shown = await ask('GET', path)
  t.deepEqual(shown.json.volume, {
    ...{ id, name: 'data', description: null, status: 'available', size: 2, metadata: { tier: 'gold' } },
    ...{ attachments: [], created_at: shown.json.volume.created_at, updated_at: null, availability_zone: 'nova' },
    ...{
      volume_type: 'tank',
      volume_type_id: null,
      consumes_quota: true,
      service_uuid: null,
      cluster_name: null,
      snapshot_id: null,
      source_volid: null,
      backup_id: null,
      bootable: 'false',
    },
    ...{ encrypted: false, multiattach: false, shared_targets: false, replication_status: null },
    ...{ consistencygroup_id: null, migration_status: null, user_id: null },
    'os-vol-tenant-attr:tenant_id': shown.json.volume['os-vol-tenant-attr:tenant_id'],
    'os-vol-host-attr:host': 'host-a@holdfast#tank',
    links: ['self', 'bookmark'].map((rel) => ({ rel, href: `${url}${path}` })),
  })
  t.regex(shown.json.volume.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/)
  const etag = shown.headers.get('etag') ?? ''
  t.is((await ask('GET', path, { headers: { 'if-none-match': etag } })).status, 304)
  const renamed = { body: { volume: { name: 'other' } }, headers: { 'if-match': etag } }
  t.like(await ask('PUT', path, renamed), {
    status: 200,
    json: { volume: { name: 'other', metadata: { tier: 'gold' } } },
  })
  t.like(await ask('PUT', path, renamed), { status: 412, json: { preconditionFailed: { code: 412 } } })
  t.is((await ask('DELETE', path, { headers: { 'if-match': etag } })).status, 412)
  const unnamed = await ask('PUT', path, { body: { volume: { name: null, description: 'x' } } })
  t.like(unnamed.json.volume, { name: null, description: 'x' })
  t.is((await ask('DELETE', path)).status, 202)
  t.like(await ask('GET', path), { status: 404, json: { itemNotFound: { code: 404 } } })
})

test('metadata whole, added to, and member by member; of snapshots too', async (t) => {
  const { ask } = await startListener(t)
  const id = await volume(ask, { metadata: { a: '1' } })
  const made = await ask('POST', SNAPSHOTS, {
    body: { snapshot: { volume_id: id, metadata: { a: '1' }, force: 'False' } },
  })
  t.is(made.status, 202, made.text)
  for (const path of [`${VOLUMES}/${id}/metadata`, `${SNAPSHOTS}/${made.json.snapshot.id}/metadata`]) {
    const whole = async () => (await ask('GET', path)).json.metadata
    t.like(await ask('POST', path, { body: { metadata: { b: '2' } } }), {
      status: 200,
      json: { metadata: { a: '1', b: '2' } },
    })
    t.like(await ask('PUT', `${path}/b`, { body: { meta: { b: '3' } } }), { status: 200, json: { meta: { b: '3' } } })
    t.like(await ask('PUT', `${path}/b`, { body: { meta: { c: '3' } } }), { status: 400 })
    t.like(await ask('GET', `${path}/a`), { status: 200, json: { meta: { a: '1' } } })
    t.is((await ask('GET', `${path}/constructor`)).status, 404)
    t.is((await ask('DELETE', `${path}/a`)).status, 200)
    t.is((await ask('DELETE', `${path}/a`)).status, 404)
    t.deepEqual(await whole(), { b: '3' })
    const { headers } = await ask('GET', path)
    const replace = { body: { metadata: { z: '' } }, headers: { 'if-match': headers.get('etag') ?? '' } }
    t.like(await ask('PUT', path, replace), { status: 200, json: { metadata: { z: '' } } })
    t.is((await ask('PUT', path, replace)).status, 412)
    t.is((await ask('POST', path, { body: { metadata: { [`${'k'.repeat(256)}`]: '' } } })).status, 400)
    t.is((await ask('POST', path, { body: { metadata: { k: 1 } } })).status, 400)
  }
})

test('lists are pages with a link to the next, and are filtered', async (t) => {
  const { ask, url } = await startListener(t)
  for (const name of ['a', 'b', 'c']) await volume(ask, { name, metadata: { all: "it's", name } })
  const first = await ask('GET', `${VOLUMES}/detail?limit=2&all_tenants=1`)
  t.is(first.json.volumes.length, 2)
  const [{ rel, href }] = first.json.volumes_links
  t.is(rel, 'next')
  t.true(href.startsWith(`${url}${VOLUMES}/detail?limit=2&`), href)
  const second = await ask('GET', href.slice(url.length))
  t.is(second.json.volumes.length, 1)
  t.false('volumes_links' in second.json)
  const named = async (query: string) =>
    (await ask('GET', `${VOLUMES}?all_tenants=true&${query}`)).json.volumes.map(({ name }: { name: string }) => name)
  t.deepEqual(await named('name=b'), ['b'])
  t.deepEqual(await named(`metadata=${encodeURIComponent(`{'name': 'c', u'all': 'it\\'s'}`)}`), ['c'])
  t.deepEqual(await named(`metadata=${encodeURIComponent('{"name": "a"}')}`), ['a'])
  t.deepEqual(await named('status=ERROR'), [])
  t.deepEqual(await named('sort=created_at:desc,id:desc&unknown=1&offset=0'), ['a', 'b', 'c'])
  t.deepEqual(await named('offset=1&limit=1'), ['b'])
  const counted = await ask('GET', `${VOLUMES}/detail?with_count=True&limit=1&offset=1&all_tenants=1`)
  t.is(counted.json.count, 3)
  t.false(counted.json.volumes_links[0].href.includes('offset'))
  t.regex(counted.json.volumes_links[0].href, /all_tenants=true.*with_count=true/)
  const wrongs = [
    'sort=host:asc',
    'sort=toString',
    'sort=name:up',
    'sort=name,created_at',
    'sort_dir=up',
    'sort_key=x',
    'offset=-1',
  ]
  const others = ['limit=-1', 'metadata=x', `marker=${randomUUID()}`, 'created_at=lately', 'updated_at=gt:2026-99-01']
  // What Postgres has no time or text for.
  const unkept = [
    'created_at=gt:0000-01-01',
    `updated_at=lt:${encodeURIComponent('9999-12-31T23:59:59-23:00')}`,
    `metadata=${encodeURIComponent('{"name": "\\u0000"}')}`,
    `metadata=${encodeURIComponent('{"\\ud800": "a"}')}`,
  ]
  for (const wrong of [...wrongs, ...others, ...unkept]) {
    t.like(
      await ask('GET', `${VOLUMES}?all_tenants=1&${wrong}`),
      { status: 400, json: { badRequest: { code: 400 } } },
      wrong,
    )
  }
})

test('actions: one at a time, and no other than those that are known', async (t) => {
  const { ask } = await startListener(t)
  const id = await volume(ask)
  const server = randomUUID()
  const statusOf = async () => (await ask('GET', `${VOLUMES}/${id}`)).json.volume.status
  for (const [body, status, then] of [
    [{ 'os-reserve': null }, 202, 'attaching'],
    [{ 'os-reserve': {} }, 400, 'attaching'],
    [{ 'os-unreserve': null }, 202, 'available'],
    [{ 'os-attach': { instance_uuid: server, mountpoint: '/dev/vdb', mode: 'rw' } }, 202, 'in-use'],
    [{ 'os-extend': { new_size: 2 } }, 202, 'in-use'],
    [{ 'os-begin_detaching': null }, 202, 'detaching'],
    [{ 'os-roll_detaching': null }, 202, 'in-use'],
    [{ 'os-detach': { attachment_id: randomUUID() } }, 404, 'in-use'],
    [{ 'os-detach': null }, 202, 'available'],
    [{ 'os-set_bootable': { bootable: 'True' } }, 202, 'available'],
    [{ 'os-update_readonly_flag': { readonly: true } }, 202, 'available'],
    [{ 'os-attach': { instance_uuid: server, host_name: 'b' } }, 400, 'available'],
    [{ 'os-attach': { host_name: 'b', mode: 'rw' } }, 400, 'available'],
    [{ 'os-extend': { new_size: 2 } }, 400, 'available'],
    [{ 'os-extend': { new_size: 3 } }, 202, 'available'],
    [{ 'os-migrate_volume': {} }, 400, 'available'],
    [{ 'os-reserve': null, 'os-unreserve': null }, 400, 'available'],
    [{}, 400, 'available'],
    [{ revert: { snapshot_id: server } }, 404, 'available'],
  ] as const) {
    const answer = await act(ask, id, body)
    t.is(answer.status, status, `${JSON.stringify(body)} ${answer.text}`)
    t.is(await statusOf(), then, JSON.stringify(body))
    if (status === 202) t.is(answer.text, '')
  }
  t.regex((await act(ask, id, { 'os-fly': {} })).json.badRequest.message, /^os-fly: is none of os-extend, /)
  t.like((await ask('GET', `${VOLUMES}/${id}`)).json.volume, {
    ...{ bootable: 'true', size: 3, metadata: { readonly: 'True' } },
  })
})

test('a connection is told once to whoever asked, and never to a repeat', async (t) => {
  const { ask, fake } = await startListener(t)
  const id = await volume(ask)
  const headers = { 'idempotency-key': 'once' }
  const body = {
    'os-initialize_connection': { connector: { initiator: 'iqn.2026-01.test:a', host: 'n1', ip: '192.0.2.9' } },
  }
  const path = `${VOLUMES}/${id}/action`
  const first = await ask('POST', path, { body, headers })
  t.is(first.status, 200, first.text)
  const { driver_volume_type: type, data } = first.json.connection_info
  t.is(type, 'iscsi')
  t.like(data, {
    target_iqn: `iqn.2026-01.org.holdfast:volume-${id}`,
    volume_id: id,
    auth_method: 'CHAP',
    access_mode: 'rw',
  })
  t.true(data.auth_password.length >= 12)
  const again = await ask('POST', path, { body, headers })
  t.false(again.text.includes(data.auth_password))
  t.is(fake.exports.size, 1)
  const gone = { 'os-terminate_connection': { connector: { initiator: 'iqn.2026-01.test:a' } } }
  t.is((await act(ask, id, gone)).status, 202)
  t.is(fake.exports.size, 0)
})

test('what is not offered is refused, naming the field', async (t) => {
  const { ask } = await startListener(t)
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ size: 1, imageRef: randomUUID() }, /^volume\.imageRef: making volumes of images/],
    [{ size: 1, multiattach: true }, /^volume\.multiattach:/],
    [{ size: 0 }, /size.*at least 1/i],
    [{ size: 'x' }, /^volume\.size:/],
    [{ size: 1.5 }, /whole/],
    [{}, /^size: is required/],
    [{ size: 1, name: 'n'.repeat(256) }, /^volume\.name: must be at most 255/],
    [{ snapshot_id: randomUUID(), source_volid: randomUUID() }, /made of one thing/],
  ]
  for (const [given, message] of wrong) {
    const answer = await ask('POST', VOLUMES, { body: { volume: given } })
    t.is(answer.status, 400, answer.text)
    t.regex(answer.json.badRequest.message, message)
  }
  t.is((await ask('POST', VOLUMES, { body: { volume: { size: 1, volume_type: 'nowhere' } } })).status, 404)
  t.like(await ask('GET', VOLUMES, { as: null }), { status: 401, json: { unauthorized: { code: 401 } } })
  t.like(await ask('POST', VOLUMES, { as: 'viewer', body: { volume: { size: 1 } } }), {
    status: 403,
    json: { forbidden: { code: 403 } },
  })
  t.like(await ask('DELETE', VOLUMES), { status: 405, json: { badMethod: { code: 405 } } })
  t.like(await ask('GET', '/v3/default/backups'), { status: 404, json: { itemNotFound: { code: 404 } } })
})

test('types are pools, and nobody is limited', async (t) => {
  const { ask } = await startListener(t)
  const { json } = await ask('GET', '/v3/default/types?is_public=None')
  t.like(json.volume_types[0], { name: 'tank', is_public: true })
  t.like((await ask('GET', '/v3/default/types/tank')).json, { volume_type: { id: json.volume_types[0].id } })
  t.like((await ask('GET', '/v3/default/scheduler-stats/get_pools?detail=True')).json.pools[0], {
    ...{ name: 'host-a@holdfast#tank', capabilities: { storage_protocol: 'iSCSI' } },
  })
  t.like((await ask('GET', '/v3/default/limits')).json.limits.absolute, { maxTotalVolumes: -1, totalVolumesUsed: 0 })
  const quotas = '/v3/default/os-quota-sets'
  t.like((await ask('GET', `${quotas}/default`)).json.quota_set, { id: 'default', volumes: -1, gigabytes: -1 })
  t.like((await ask('GET', `${quotas}/default?usage=True`)).json.quota_set, { volumes: { limit: -1, in_use: 0 } })
  t.is((await ask('GET', `${quotas}/another`)).status, 404)
  t.is((await ask('GET', '/v3/default/os-availability-zone')).json.availabilityZoneInfo[0].zoneName, 'nova')
})

test('a network that is trusted is trusted with the token that means nothing, and with no other', async (t) => {
  const { ask } = await startListener(t, { trustedNetworks: [{ cidr: '127.0.0.0/8', role: 'operator' }] })
  const as = (token: string) => ask('GET', VOLUMES, { as: null, headers: { 'x-auth-token': token } })
  t.is((await as('admin:default')).status, 200)
  t.is((await as('admin:other')).status, 401)
  t.is((await as('admin')).status, 401)
  const bearer = { authorization: 'Bearer admin:default', 'x-auth-token': 'admin:default' }
  t.is((await ask('GET', VOLUMES, { as: null, headers: bearer })).status, 401)
  const elsewhere = await startListener(t)
  const there = await elsewhere.ask('GET', VOLUMES, { as: null, headers: { 'x-auth-token': 'admin:default' } })
  t.is(there.status, 401)
})
