// A client made with the A2A project's own SDK, for .ci/a2a: it talks to a peer of a gateway
// as to an agent. Usage: node client.mjs <base URL> talk|cancel, with the token in A2A_TOKEN.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Role, TaskState } from '@a2a-js/sdk';
import { ClientFactory, ClientFactoryOptions, DefaultAgentCardResolver, JsonRpcTransportFactory } from '@a2a-js/sdk/client';

const [base, what] = process.argv.slice(2);
setTimeout(() => { console.error('client: it takes too long'); process.exit(1); }, 90_000).unref();

// connect reads the card and makes a client of it.
async function connect(token) {
  const fetchImpl = (url, init) => fetch(url, { ...init, headers: { ...Object.fromEntries(new Headers(init?.headers)), ...(token && { Authorization: `Bearer ${token}` }) } });
  const factory = new ClientFactory(ClientFactoryOptions.createFrom(ClientFactoryOptions.default, {
    transports: [new JsonRpcTransportFactory({ fetchImpl })], cardResolver: new DefaultAgentCardResolver({ fetchImpl }),
  }));
  return factory.createFromUrl(`${base}/`);
}

const message = (text, metadata) => ({
  messageId: randomUUID(), contextId: '', taskId: '', role: Role.ROLE_USER, metadata, extensions: [], referenceTaskIds: [],
  parts: [{ content: { $case: 'text', value: text }, metadata: undefined, filename: '', mediaType: '' }],
});
const sending = (text, returnImmediately, metadata, taskPushNotificationConfig) => ({
  tenant: '', message: message(text, metadata), metadata: undefined,
  configuration: { acceptedOutputModes: [], taskPushNotificationConfig, historyLength: 0, returnImmediately },
});
const words = (parts) => parts.map((part) => part.content.value).join('\n');
const get = (client, id) => client.getTask({ tenant: '', id, historyLength: 0 });

// until polls a task until it is in one of these states.
async function until(client, id, ...states) {
  for (;;) {
    const task = await get(client, id);
    if (states.includes(task.status.state)) return task;
    await new Promise((done) => setTimeout(done, 250));
  }
}

// receiver takes push notifications: told waits until one shows a task in a state.
async function receiver() {
  const got = [];
  const server = createServer(async (req, res) => {
    let body = '';
    for await (const piece of req) body += piece;
    got.push({ headers: req.headers, ...JSON.parse(body) });
    res.end();
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  server.unref();
  const url = `http://127.0.0.1:${server.address().port}/told`;
  return {
    got, config: (taskId) => ({ tenant: '', id: '', taskId, url, token: 'a-token', authentication: { scheme: 'Bearer', credentials: 'for-them' } }),
    async told(state) {
      for (;;) {
        const one = got.find((n) => n.task?.status.state === state);
        if (one) return one;
        await new Promise((done) => setTimeout(done, 100));
      }
    },
  };
}

async function push(client, card) {
  assert.ok(card.capabilities.pushNotifications);
  const { got, config, told } = await receiver();
  const task = await client.sendMessage(sending('when and where?', true, undefined, config('')));
  const done = await told('TASK_STATE_COMPLETED');
  assert.equal(done.task.id, task.id);
  assert.equal(done.headers.authorization, 'Bearer for-them');
  assert.equal(done.headers['x-a2a-notification-token'], 'a-token');
  assert.match(done.task.artifacts[0].parts[0].text, /at nine, by the river/);
  for (const url of ['http://client.example/', 'https://169.254.169.254/', 'https://10.0.0.1/']) {
    await assert.rejects(client.createTaskPushNotificationConfig({ ...config(task.id), url }), /url/, url);
  }
  console.log(`pushed: ${got.map((n) => n.task.status.state).join(', ')}`);
}

async function talk(client, card) {
  for (const id of ['agent-comms', 'message']) assert.ok(card.skills.some((skill) => skill.id === id), `the card has no skill ${id}`);
  await assert.rejects(connect('a-wrong-token'), /401/, 'a wrong token');
  await assert.rejects(connect(''), /401/, 'no token');

  let task = await client.sendMessage(sending('when and where?', true));
  assert.ok([TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING].includes(task.status.state), `a task at once: ${task.status.state}`);
  const first = task.id;
  task = await until(client, first, TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_FAILED);
  assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED);
  assert.match(words(task.artifacts[0].parts), /<<<.*\n[^]*at nine, by the river/);
  console.log('the task is completed by the peer\'s reply');

  task = await client.sendMessage(sending('when again?', false, { skillId: 'message' }));
  assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED, 'a call that waits');
  task = await client.sendMessage(sending('please fail', false, { skillId: 'message' }));
  assert.equal(task.status.state, TaskState.TASK_STATE_FAILED, 'an agent that fails');
  assert.match(words(task.status.message.parts), /there is no such day/);

  const seen = [];
  for await (const event of client.sendMessageStream(sending('and where?', false))) seen.push(event.payload);
  assert.equal(seen[0].$case, 'task');
  assert.ok(seen.some((e) => e.$case === 'artifactUpdate' && words(e.value.artifact.parts).includes('at nine')), 'a stream tells of the answer');
  assert.equal(seen.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED, 'and ends with the task');
  console.log(`a stream tells of ${seen.length} changes`);

  const list = await client.listTasks({ tenant: '', contextId: '', status: TaskState.TASK_STATE_COMPLETED, pageSize: 2, pageToken: '', historyLength: 0, statusTimestampAfter: undefined, includeArtifacts: false });
  assert.equal(list.totalSize, 4, 'three of these, and one that the human sent');
  assert.equal(list.tasks.length, 2);
  await assert.rejects(client.cancelTask({ tenant: '', id: first, metadata: undefined }), /has the message|done/, 'cancelling what is done');
  await assert.rejects(get(client, 'nothing'), /not found/i);
  await push(client, card);
}

async function cancel(client) {
  let task = await client.sendMessage(sending('never mind', true));
  assert.equal(task.status.state, TaskState.TASK_STATE_SUBMITTED, 'the peer is not there');
  const { config, told } = await receiver();
  const made = await client.createTaskPushNotificationConfig(config(task.id));
  const other = await client.createTaskPushNotificationConfig({ ...config(task.id), id: 'other' });
  assert.equal((await client.getTaskPushNotificationConfig({ tenant: '', taskId: task.id, id: made.id })).url, made.url);
  await client.deleteTaskPushNotificationConfig({ tenant: '', taskId: task.id, id: other.id });
  const left = await client.listTaskPushNotificationConfig({ tenant: '', taskId: task.id, pageSize: 0, pageToken: '' });
  assert.deepEqual(left.configs.map((c) => c.id), [made.id]);
  task = await client.cancelTask({ tenant: '', id: task.id, metadata: undefined });
  assert.equal(task.status.state, TaskState.TASK_STATE_CANCELED);
  await told('TASK_STATE_CANCELED');
  assert.equal((await get(client, task.id)).status.state, TaskState.TASK_STATE_CANCELED);
  console.log(`cancelled: ${words(task.status.message?.parts ?? [])}`);
}

const client = await connect(process.env.A2A_TOKEN);
await { talk, cancel }[what](client, await client.getAgentCard());
