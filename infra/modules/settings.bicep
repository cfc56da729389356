// The app's settings, by the names of shared/configuration/settings.py. An empty one stands for its default there.
import { Declaration } from '../types.bicep'

param appName string
param identityClientId string
param storageAccount string
param queue string
param vaultUrl string
param insightsConnectionString string
param clientId string
param publicName string
param subscriptions Declaration[]
param destinationUrl string

@description('Of an App Service plan; empty: Flex Consumption, which has these settings built in.')
param planSize string

@description('Settings, by name, that replace those below.')
param overrides { *: string }

var processors = { B1: 1, B2: 2, B3: 4, P0v3: 1, P1v3: 2, P2v3: 4, P3v3: 8 }
var onPlan = empty(planSize) ? {} : {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'python'
  FUNCTIONS_WORKER_PROCESS_COUNT: string(processors[planSize])
  ENABLE_ORYX_BUILD: 'true'
  SCM_DO_BUILD_DURING_DEPLOYMENT: 'true'
}
var notificationUrl = 'https://${publicName}/api/notifications'

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(
    {
      AzureWebJobsStorage__accountName: storageAccount
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identityClientId
      AZURE_CLIENT_ID: identityClientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      AzureWebJobsDisableHomepage: 'true'
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '8388608' // LARGEST_BODY in notify_http/receive.py
      PYTHON_THREADPOOL_THREAD_COUNT: '32'
      NOTIFICATION_QUEUE: queue
      NOTIFICATION_URL: notificationUrl
      GRAPH_TENANT_ID: tenant().tenantId
      GRAPH_CLIENT_ID: clientId
      GRAPH_CLOUD: 'global'
      // Text only here: handed through a module, text that begins with a bracket may be evaluated as an expression.
      SUBSCRIPTIONS: string(subscriptions)
      CLIENT_STATE_SECRET: '@Microsoft.KeyVault(SecretUri=${vaultUrl}secrets/client-state-secret/)'
      KEY_STORE: vaultUrl
      KEY_ROTATION_DAYS: ''
      KEY_OVERLAP_HOURS: ''
      DESTINATION_URL: destinationUrl
      DESTINATION_SECRET: '@Microsoft.KeyVault(SecretUri=${vaultUrl}secrets/destination-secret/)'
      DESTINATION_SCOPE: ''
      DESTINATION_IDENTITY: ''
      DESTINATION_MODE: ''
      DESTINATION_HEADERS: ''
      DESTINATION_MAX_EVENTS: ''
      DESTINATION_MAX_BYTES: ''
      DESTINATION_MAX_REQUESTS: ''
      DESTINATION_MAX_RATE: ''
      DESTINATION_CA: ''
      DESTINATION_CLIENT_CERTIFICATE: ''
      DESTINATIONS: ''
      DELIVERY_HORIZON_HOURS: ''
      RENEW_SCHEDULE: ''
      SWEEP_INTERVAL_HOURS: ''
      LEDGER_DAYS: ''
      NOTIFICATION_PATHS: ''
    },
    onPlan,
    overrides
  )
}

output notificationUrl string = notificationUrl
