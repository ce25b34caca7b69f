// An agent made with the A2A project's own SDK, for .ci/a2a: it needs two seconds for an
// answer, and fails where it is asked to. Usage: node server.mjs <port>
import express from 'express';
import { Role, TaskState } from '@a2a-js/sdk';
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server';
import { UserBuilder, jsonRpcHandler } from '@a2a-js/sdk/server/express';

const port = Number(process.argv[2]);
const part = (value) => ({ content: { $case: 'text', value }, metadata: undefined, filename: '', mediaType: '' });

const agent = {
  async execute({ userMessage, taskId, contextId }, bus) {
    console.log(`run ${userMessage.messageId} ${contextId}`);
    const status = (state, words) => ({
      state, timestamp: new Date().toISOString(),
      message: words && { messageId: `${taskId}-end`, contextId, taskId, role: Role.ROLE_AGENT, parts: [part(words)], metadata: undefined, extensions: [], referenceTaskIds: [] },
    });
    bus.publish(AgentEvent.task({ id: taskId, contextId, status: status(TaskState.TASK_STATE_WORKING), artifacts: [], history: [userMessage], metadata: undefined }));
    await new Promise((done) => setTimeout(done, 2000));
    if (userMessage.parts[0].content.value.includes('please fail')) {
      bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(TaskState.TASK_STATE_FAILED, 'there is no such day'), metadata: undefined }));
    } else {
      bus.publish(AgentEvent.artifactUpdate({
        taskId, contextId, append: false, lastChunk: true, metadata: undefined,
        artifact: { artifactId: 'answer', name: '', description: '', parts: [part('at nine, by the river')], metadata: undefined, extensions: [] },
      }));
      bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(TaskState.TASK_STATE_COMPLETED), metadata: undefined }));
    }
    bus.finished();
  },
  async cancelTask() {},
};

const card = {
  name: 'test', description: 'answers', version: '1', documentationUrl: '', iconUrl: '', provider: undefined,
  supportedInterfaces: [{ url: `http://127.0.0.1:${port}/a2a`, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }],
  capabilities: { streaming: false, pushNotifications: false, extensions: [], extendedAgentCard: false },
  securitySchemes: {}, securityRequirements: [], defaultInputModes: ['text/plain'], defaultOutputModes: ['text/plain'], skills: [], signatures: [],
};

const app = express();
app.use((request, response, next) => {
  if (request.headers.authorization === 'Bearer a-token') return next();
  response.status(401).json({ error: 'Unauthorized' });
});
app.use('/a2a', jsonRpcHandler({ requestHandler: new DefaultRequestHandler(card, new InMemoryTaskStore(), agent), userBuilder: UserBuilder.noAuthentication }));
app.listen(port, '127.0.0.1', () => console.log('ready'));
