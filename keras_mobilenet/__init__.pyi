# What type checkers see; __init__.py loads each name when it is first used.

from keras_mobilenet.checkpoints.building import from_pretrained as from_pretrained
from keras_mobilenet.checkpoints.inspection import convert_weights as convert_weights
from keras_mobilenet.checkpoints.inspection import inspect_weights as inspect_weights
from keras_mobilenet.checkpoints.loading import load_weights as load_weights
from keras_mobilenet.checkpoints.loading import save_weights as save_weights
from keras_mobilenet.deploy.exporting import export as export
from keras_mobilenet.deploy.graphs.traced.folding import fold_batch_norm as fold_batch_norm
from keras_mobilenet.deploy.predictor import Predictor as Predictor
from keras_mobilenet.display.diagrams import plot_model as plot_model
from keras_mobilenet.display.summaries import summary as summary
from keras_mobilenet.evaluation.evaluating import evaluate as evaluate
from keras_mobilenet.images.pixel_scaling import Preprocessing as Preprocessing
from keras_mobilenet.mobilenet import MobileNet as MobileNet
from keras_mobilenet.mobilenet_v2 import MobileNetV2 as MobileNetV2
from keras_mobilenet.mobilenet_v3 import MobileNetV3Large as MobileNetV3Large
from keras_mobilenet.mobilenet_v3 import MobileNetV3Small as MobileNetV3Small
from keras_mobilenet.mobilenet_v4 import MobileNetV4ConvLarge as MobileNetV4ConvLarge
from keras_mobilenet.mobilenet_v4 import MobileNetV4ConvMedium as MobileNetV4ConvMedium
from keras_mobilenet.mobilenet_v4 import MobileNetV4ConvSmall as MobileNetV4ConvSmall
from keras_mobilenet.mobilenet_v4 import MobileNetV4HybridLarge as MobileNetV4HybridLarge
from keras_mobilenet.mobilenet_v4 import MobileNetV4HybridMedium as MobileNetV4HybridMedium
from keras_mobilenet.models.model_files import preprocessing_of as preprocessing_of
from keras_mobilenet.models.model_files import set_preprocessing as set_preprocessing
from keras_mobilenet.models.preprocessing import decode_predictions as decode_predictions
from keras_mobilenet.models.preprocessing import preprocess_input as preprocess_input
from keras_mobilenet.models.preprocessing import scale_pixels as scale_pixels
from keras_mobilenet.nets.costs.latency import estimate_latency as estimate_latency
from keras_mobilenet.nets.costs.layers import layer_costs as layer_costs
from keras_mobilenet.nets.costs.memory import peak_memory as peak_memory
from keras_mobilenet.nets.costs.selection import select_variant as select_variant
from keras_mobilenet.training.finetune.finetuning import finetune as finetune
from keras_mobilenet.training.finetune.probing import probe as probe
from keras_mobilenet.training.scratch.scratch import train as train
from keras_mobilenet.transfer.activation_maps import cam as cam
from keras_mobilenet.transfer.freezing import freeze as freeze
from keras_mobilenet.transfer.pyramids import features as features
from keras_mobilenet.transfer.tops import replace_top as replace_top

__version__: str
