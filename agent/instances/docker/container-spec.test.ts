import test from 'ava'
import type { CreateRequest } from '../instances.ts'
import { containerSpec } from './container-spec.ts'

/** As Docker 24 shows a container that publishes a port, is watched by Compose and has more rights than usual. */
const KEPT = {
  Id: 'ab12cd34ef56'.padEnd(64, '0'),
  Config: {
    Hostname: 'shop',
    Env: ['A=b', 'HOSTNAME=shop'],
    Cmd: ['nginx'],
    Entrypoint: null,
    Labels: { 'com.docker.compose.project': 'shop', 'holdfast.image': 'sha256:0', team: 'web' },
    ExposedPorts: { '80/tcp': {} },
    StopSignal: 'SIGQUIT',
  },
  HostConfig: {
    NetworkMode: 'front',
    PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
    Privileged: true,
    CapAdd: ['SYS_ADMIN'],
    Devices: [],
    Binds: ['/etc:/host-etc'],
    Memory: 268_435_456,
    MemorySwappiness: 0,
    Tmpfs: { '/run': '' },
    RestartPolicy: { Name: '', MaximumRetryCount: 0 },
    LogConfig: { Type: 'json-file', Config: {} },
    MaskedPaths: ['/proc/kcore'],
    Ulimits: [{ Name: 'RLIMIT_NOFILE', Soft: 1024, Hard: 2048 }],
    PidMode: 'private',
  },
  Mounts: [{ destination: '/host-etc', source: '/etc', kind: 'bind', readonly: false }],
  Networks: { front: { IPAMConfig: { IPv4Address: '10.1.2.3' }, Aliases: ['shop'] }, back: {} },
}

function request(part: Partial<CreateRequest>, kept: unknown = KEPT): CreateRequest {
  const files = { 'container.json': Buffer.from(JSON.stringify(kept)) }
  const config = { type: 'docker', name: 'shop', files, image: undefined } as const
  return { name: 'copy', config, rootfs: '/r', identity: 'new', trusted: false, mounts: [], ...part }
}

test('a configuration that others may have written brings no rights and nothing of the host', (t) => {
  const { body, networks, dropped } = containerSpec(request({}), 'sha256:1', { 'holdfast.image': 'sha256:1' })
  t.deepEqual(body, {
    Image: 'sha256:1',
    Hostname: 'copy',
    Env: ['A=b'],
    Cmd: ['nginx'],
    Labels: { team: 'web', 'holdfast.image': 'sha256:1' },
    ExposedPorts: { '80/tcp': {} },
    StopSignal: 'SIGQUIT',
    HostConfig: {
      NetworkMode: 'front',
      Memory: 268_435_456,
      Tmpfs: { '/run': '' },
      Ulimits: [{ Name: 'nofile', Soft: 1024, Hard: 2048 }],
      Mounts: [],
    },
    NetworkingConfig: { EndpointsConfig: {} },
  })
  t.deepEqual(networks, ['back'])
  t.deepEqual(dropped.toSorted(), ['/host-etc', 'CapAdd', 'PortBindings', 'Privileged'])
})

test('what is restored in its own place, from a host that is trusted, is as it was', (t) => {
  const mounts = [{ destination: '/host-etc', source: { path: '/etc' }, readonly: false }]
  const { body, dropped } = containerSpec(request({ identity: 'keep', trusted: true, mounts }), 'sha256:1', {})
  t.like(body, {
    Hostname: 'shop',
    Labels: { 'com.docker.compose.project': 'shop', team: 'web' },
    HostConfig: {
      Privileged: true,
      CapAdd: ['SYS_ADMIN'],
      PortBindings: KEPT.HostConfig.PortBindings,
      MaskedPaths: ['/proc/kcore'],
      Mounts: [{ Type: 'bind', Source: '/etc', Target: '/host-etc', ReadOnly: false }],
    },
    NetworkingConfig: { EndpointsConfig: { front: KEPT.Networks.front } },
  })
  t.deepEqual(dropped, [])
})

test('a host name that the engine made of the id is made anew', (t) => {
  const kept = { ...KEPT, Config: { Hostname: 'ab12cd34ef56', Env: ['HOSTNAME=ab12cd34ef56'] } }
  t.like(containerSpec(request({ identity: 'keep' }, kept), 'i', {}).body, { Hostname: '', Env: [] })
  t.like(containerSpec(request({ name: 'a_b' }, kept), 'i', {}).body, { Hostname: '' })
})

test('namespaces of the host need trust, and those of another container are never taken over', (t) => {
  const mode = (NetworkMode: string, trusted: boolean) =>
    containerSpec(request({ trusted }, { ...KEPT, HostConfig: { NetworkMode } }), 'i', {})
  t.like(mode('host', true).body, { HostConfig: { NetworkMode: 'host' }, Hostname: '' })
  t.deepEqual(mode('host', false).dropped, ['NetworkMode', '/host-etc'])
  t.deepEqual(mode('container:other', true).dropped, ['NetworkMode', '/host-etc'])
  t.deepEqual(mode('none', false).networks, [])
})

test('what is no configuration of a container is refused', (t) => {
  for (const kept of [null, 'x', {}, { Config: [], HostConfig: {} }])
    t.throws(() => containerSpec(request({}, kept), 'i', {}), { code: 'refused' })
  const mounts = [{ destination: 'relative', source: { path: '/etc' }, readonly: true }]
  t.throws(() => containerSpec(request({ mounts }), 'i', {}), { code: 'invalid' })
  const escaping = [{ destination: '/x', source: { volume: '../y' }, readonly: true }]
  t.throws(() => containerSpec(request({ mounts: escaping }), 'i', {}), { code: 'invalid' })
})
