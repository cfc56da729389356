// Optional: lets an identity send to destinations in Azure (docs/targets/README.md). Deploy it to the resource group of
// the targets; name those that you use.

@description('Object id of the app\'s managed identity, or of its service principal.')
param principalId string

@description('Name of an Event Grid custom topic; empty: none.')
param eventGridTopic string = ''

@description('Name of an Event Grid namespace; empty: none.')
param eventGridNamespace string = ''

@description('Name of an Event Hubs namespace; empty: none.')
param eventHubsNamespace string = ''

@description('Name of a Service Bus namespace; empty: none.')
param serviceBusNamespace string = ''

// Built-in roles, which have the same id in every tenant.
var eventGridDataSender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7')
var eventHubsDataSender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '2b629674-e913-4c01-ae53-ef4638d8f975')
var serviceBusDataSender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = if (!empty(eventGridTopic)) {
  name: eventGridTopic
}

resource gridNamespace 'Microsoft.EventGrid/namespaces@2025-02-15' existing = if (!empty(eventGridNamespace)) {
  name: eventGridNamespace
}

resource hubs 'Microsoft.EventHub/namespaces@2024-01-01' existing = if (!empty(eventHubsNamespace)) {
  name: eventHubsNamespace
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = if (!empty(serviceBusNamespace)) {
  name: serviceBusNamespace
}

resource toTopic 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventGridTopic)) {
  scope: topic
  name: guid(topic.id, principalId, eventGridDataSender)
  properties: {
    roleDefinitionId: eventGridDataSender
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource toGridNamespace 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventGridNamespace)) {
  scope: gridNamespace
  name: guid(gridNamespace.id, principalId, eventGridDataSender)
  properties: {
    roleDefinitionId: eventGridDataSender
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource toHubs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventHubsNamespace)) {
  scope: hubs
  name: guid(hubs.id, principalId, eventHubsDataSender)
  properties: {
    roleDefinitionId: eventHubsDataSender
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource toBus 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(serviceBusNamespace)) {
  scope: bus
  name: guid(bus.id, principalId, serviceBusDataSender)
  properties: {
    roleDefinitionId: serviceBusDataSender
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
